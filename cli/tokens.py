"""`vqcodec tokens`: a .vqc file to arrays of token indices, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError

from . import files, messages, options


def tokens(
    source: Annotated[
        Path, typer.Argument(metavar="IN", show_default=False, help="A .vqc file, or a .npz file of this command.")
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
    """Convert a .vqc file losslessly to numpy arrays of token indices (.npz), or back.

    No network runs. An archive holds plane.0, plane.1 ... (coarse to fine), width, height (pixels), grey, model,
    identity, and alpha, icc, exif and xmp if the file has them.

    JSON keys: input, output, width, height (pixels), bytes (of the output), layers, planes, model.
    """
    suffix = out.suffix.lower()
    if suffix not in (".npz", ".vqc"):
        raise UsageError(f"-o {out}: name a .npz file for arrays, or a .vqc file")
    files.check_target(out, force, (source,))
    from vqcodec import api
    from vqcodec.tokens.npz import read_arrays, write_arrays

    given = files.read_input(source)
    with messages.naming(source):
        if suffix == ".npz":
            found = api.decode_tokens(given, max_pixels=max_pixels)
            data = write_arrays(found)
        else:
            found = read_arrays(given)
            data = api.encode_tokens(found)
    files.write_new(out, data, force)
    planes = sum(map(len, found.layers))
    if json:
        record = {"input": str(source), "output": str(out), "width": found.width, "height": found.height}
        messages.print_json(
            record | {"bytes": len(data), "layers": found.n_layers, "planes": planes, "model": found.model}
        )
    elif not quiet:
        messages.say(f"{out}: {planes} planes of model {found.model}, {len(data):,} bytes")
