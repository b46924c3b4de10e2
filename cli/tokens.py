"""`vqcodec tokens`: a .vqc file as arrays of indices, or such arrays as a .vqc file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError

from . import options, output


def tokens(
    source: Annotated[
        Path, typer.Argument(metavar="IN", show_default=False, help="A .vqc file, or a .npz that this command made.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="A .npz file, or a .vqc file.")
    ],
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Turn a .vqc file into numpy arrays of token indices (.npz), or such arrays into a .vqc file; nothing is lost.

    No network runs. An archive holds plane.0, plane.1 ... (coarse to fine), width, height (pixels), grey, model,
    identity, and where they are there alpha, icc, exif and xmp.

    JSON keys: input, output, width, height (pixels), bytes (of the output), layers, planes, model.
    """
    suffix = out.suffix.lower()
    if suffix not in (".npz", ".vqc"):
        raise UsageError(f"-o {out}: name a .npz file for arrays, or a .vqc file")
    output.check_target(out, force, (source,))
    from vqcodec import api
    from vqcodec.tokens.npz import read_arrays, write_arrays

    given = output.read_input(source)
    with output.naming(source):
        if suffix == ".npz":
            found = api.decode_tokens(given, max_pixels=max_pixels)
            data = write_arrays(found)
        else:
            found = read_arrays(given)
            data = api.encode_tokens(found)
    output.write_new(out, data, force)
    planes = sum(map(len, found.layers))
    if json:
        record = {"input": str(source), "output": str(out), "width": found.width, "height": found.height}
        output.print_json(
            record | {"bytes": len(data), "layers": found.n_layers, "planes": planes, "model": found.model}
        )
    elif not quiet:
        output.say(f"{out}: {planes} planes of model {found.model}, {len(data):,} bytes")
