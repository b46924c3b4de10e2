"""`vqcodec sample`: a picture nobody took, drawn from what a model holds for likely."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError

from . import options, output


def sample(
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="A picture, or - for stdout.")
    ],
    model: options.ModelName = None,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Pixels, 1..4096 a side.")] = "256x256",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, another picture.")] = 0,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="X", help="Below 1 more likely tokens, above 1 less likely ones.")
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option("--top-k", metavar="K", min=0, show_default="all", help="Only the K likeliest of each sub-token."),
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option("--top-p", metavar="P", help="Only the likeliest that together have probability P, 0..1."),
    ] = 1.0,
    label: Annotated[
        int | None,
        typer.Option(
            "--label", metavar="N", min=0, show_default="none", help="Class 0, 1, ... in the order of classes.json."
        ),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option("--guidance", metavar="X", help="Classifier-free guidance, 1 for none; FQGAN takes 1.75 to 2."),
    ] = 1.0,
    integer: Annotated[
        bool, typer.Option("--integer", help="Draw from the model that codes files, even if there is a float one.")
    ] = False,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Draw tokens at random and decode them to a picture.

    From the float model that `train prior` with architecture factorized-ar puts beside a model, or from its own entropy
    model. The float model serves no other purpose: it is never used for files. A model whose tokens are windows is
    drawn window by window. --top-k, --top-p, --label and --guidance are for the float model alone.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if found is None:
        raise UsageError(f"--size {size}: write WxH in pixels, such as 256x256")
    kind = options.parse_format(None, str(out))
    output.check_target(out, force)
    from vqcodec import api
    from vqcodec.image.files import as_picture, write_picture
    from vqcodec.models import registry
    from vqcodec.sampling.draw import draw_tokens

    name = model or next(iter(registry.candidates()))
    tokens = draw_tokens(
        name,
        int(found[1]),
        int(found[2]),
        seed,
        temperature,
        integer,
        top_k=top_k,
        top_p=top_p,
        label=label,
        guidance=guidance,
        device=device,
    )
    data, _ = write_picture(as_picture(api.detokenize(tokens, device=device)), kind)
    output.write_new(out, data, force)
    if not quiet:
        output.say(f"{out}: drawn from '{name}', seed {seed}")
