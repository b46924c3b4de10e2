"""`vqcodec sample`: a picture from randomly drawn tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError
from vqcodec.models.registry import DEFAULT_MODEL

from . import files, messages, options


def sample(
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="A picture, or - for stdout.")
    ],
    model: options.ModelName = DEFAULT_MODEL,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Width and height in pixels, 1..4096 each.")
    ] = "256x256",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random numbers, 0 or more.")] = 0,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", metavar="X", help="More than 0; below 1 prefers likely tokens, above 1 unlikely ones."
        ),
    ] = 1.0,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k", metavar="K", min=0, show_default="all", help="Draw each sub-token from its K most likely values."
        ),
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option("--top-p", metavar="P", help="Draw from the most likely values of total probability P, 0..1."),
    ] = 1.0,
    label: Annotated[
        int | None,
        typer.Option(
            "--label", metavar="N", min=0, show_default="none", help="Class 0, 1, ... in the order of classes.json."
        ),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option("--guidance", metavar="X", help="Classifier-free guidance; 1: none, FQGAN uses 1.75 to 2."),
    ] = 1.0,
    integer: Annotated[
        bool, typer.Option("--integer", help="Draw from the entropy model even if there is a float model.")
    ] = False,
    quality: options.PictureQuality = None,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Draw tokens at random and decode them to a picture.

    The tokens come from the float model that `train prior` with architecture factorized-ar adds to a model folder, or
    else from the model's entropy model. The float model is for sampling only and never codes files. A model with fixed
    windows is sampled window by window. --top-k, --top-p, --label and --guidance apply to the float model only.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if found is None:
        raise UsageError(f"--size {size}: write WxH in pixels, such as 256x256")
    kind = options.parse_format(None, str(out))
    options.check_picture_quality(quality, kind)
    files.check_target(out, force)
    from vqcodec import api
    from vqcodec.image.files import as_picture, write_picture
    from vqcodec.sampling.draw import draw_tokens

    tokens = draw_tokens(
        model,
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
    data, _ = write_picture(as_picture(api.detokenize(tokens, device=device)), kind, quality)
    files.write_new(out, data, force)
    if not quiet:
        messages.say(f"{out}: drawn from '{model}', seed {seed}")
