"""`vqcodec train`: options of the trainer, which is the package `vqcodec.train`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import InputError, OutputError, UsageError

from . import messages, options, streams

train = typer.Typer(
    name="train", help="Train tokenizers and priors (context models), and export them as models.", no_args_is_help=True
)


@train.command()
def tokenizer(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", show_default=False, help="A .toml file, or the name of a bundled recipe.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="RUN", show_default="runs/NAME", help="Folder for checkpoint, log and recipe."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe, for example optimizer.steps=1000; may be repeated."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the run's last checkpoint.")] = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Train a tokenizer by a recipe; lengths are in steps, crops in pixels. Ctrl-C stops it, --resume continues.

    Several processes: `accelerate launch --num_processes N -m vqcodec.cli train tokenizer RECIPE ...`; each takes
    data.batch crops a step.
    """
    from vqcodec.train.recipe.load import from_tree, read_tree
    from vqcodec.train.stepped.recipe import is_stepped, stepped_recipe

    tree = read_tree(recipe, changes)
    settings = stepped_recipe(tree) if is_stepped(tree) else from_tree(tree)
    folder = Path("runs") / settings.name if out is None else out
    with _writing(folder):
        try:
            from vqcodec.train.stepped.recipe import SteppedRecipe
            from vqcodec.train.stepped.train import train_stepped
            from vqcodec.train.train_tokenizer import train_tokenizer
        except ModuleNotFoundError as error:
            raise UsageError(f"training needs the package {error.name}: pip install 'vqcodec[train]'") from error

        if isinstance(settings, SteppedRecipe):
            train_stepped(settings, folder, resume, device, report=_reporter(quiet), live=not quiet)
        else:
            train_tokenizer(settings, folder, resume, device, report=_reporter(quiet), live=not quiet)
    if not quiet and os.environ.get("RANK", "0") == "0":
        messages.say(f"{folder}: finished; `vqcodec train export {folder} -o DIR` makes a model of it")
    _leave_launch()


@train.command()
def prior(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", show_default=False, help="A .toml file, or the name of a bundled recipe.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", show_default=False, help="Model folder to write.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, for example steps=500; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the state that a stopped run left next to DIR.")
    ] = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Train a context model on the tokens of a model, and write the model with it to DIR; lengths are in steps."""
    from vqcodec.train.recipe.load import read_tree

    with _writing(out):
        from vqcodec.train.prior.recipe import prior_recipe
        from vqcodec.train.prior.train_prior import run_prior

        run_prior(prior_recipe(read_tree(recipe, changes)), out, resume, report=_reporter(quiet), device=device)
    _leave_launch()


@train.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="Folder of a training run.")],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", show_default=False, help="Model folder to write.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", show_default="the recipe's", help="Name of the model.")
    ] = None,
    prior: Annotated[
        str,
        typer.Option(
            "--prior",
            metavar="MODEL",
            show_default="tables counted over the training pictures",
            help="Use the entropy model of this model (name or folder), whose tokens must be the same.",
        ),
    ] = "",
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Export best.pt, which a recipe with run.best keeps, instead of the last checkpoint."
        ),
    ] = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Export a training run as a model folder (safetensors, config and card).

    JSON keys: name, folder, token_id, entropy_id, layers.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder")
    if (out / "config.json").exists() and not force:
        raise OutputError(f"{out}: holds a model already; add -f to overwrite it")
    with _writing(out):
        from vqcodec.train.best_checkpoint import BEST
        from vqcodec.train.export import export_run
        from vqcodec.train.run import CHECKPOINT

        config = export_run(run, out, name, _reporter(quiet), prior=prior, checkpoint=BEST if best else CHECKPOINT)
    if json:
        messages.print_json(
            {
                "name": config.name,
                "folder": str(out),
                "token_id": config.token_id,
                "entropy_id": config.entropy_id,
                "layers": len(config.layers),
            }
        )
    elif not quiet:
        messages.say(f"{out}: model '{config.name}', {config.token_id}/{config.entropy_id}")


def _reporter(quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else messages.say


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raise OutputError for system errors inside."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror or error}") from error


def _leave_launch() -> None:
    """End a process that `accelerate launch` or `torchrun` started, without the end of the interpreter.

    Threads of torch.distributed may outlive the interpreter; the process then aborts, and the launch counts as failed.
    """
    launched = os.environ.get("WORLD_SIZE", "").isdecimal() and "RANK" in os.environ
    if launched and int(os.environ["WORLD_SIZE"]) > 1 and not streams.failure.reason:
        streams.finish()
        os._exit(0)
