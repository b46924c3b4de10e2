"""The `vqcodec` command: its parts put together, and errors turned into one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vqcodec import __version__
from vqcodec.errors import VqcError

from . import options
from .batch import batch
from .codec import decode, encode, info, truncate, verify
from .evaluate import evaluate
from .models import models
from .preview import preview
from .train import train

app = typer.Typer(
    name="vqcodec",
    help="Compress pictures into discrete tokens of learned tokenizers, in small progressive files (.vqc).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vqcodec {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options before a command."""


app.command()(encode)
app.command()(decode)
app.command()(preview)
app.command()(info)
app.command()(verify)
app.command()(truncate)
app.command()(batch)
app.command("eval")(evaluate)
app.add_typer(train)
app.add_typer(models)


def run() -> None:
    """Entry point of the console script: every error ends in one line on stderr and its exit code."""
    try:
        app()
    except VqcError as error:
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more; a second complaint at shutdown helps nobody
        sys.exit(1)
    except MemoryError:
        _end("out of memory; try a smaller picture, or --region", 6)
    except Exception as error:
        _end(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)


def _end(message: str, code: int) -> None:
    if options.state.debug:
        raise  # noqa: PLE0704 - called while the exception is handled
    print(f"vqcodec: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
