"""`vqcodec tokens`: .vqc files to arrays of token indices, and back; or to a packed shard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.data.suffixes import PACKED
from vqcodec.errors import UsageError

from . import files, inputs, messages, options
from .packed_tokens import pack_tokens
from .several import Failures

OTHER = {".vqc": ".npz", ".npz": ".vqc"}
"""Suffix of an input -> suffix of its output."""
SUFFIXES = (*OTHER.values(), PACKED)
"""Suffixes of outputs."""


def tokens(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            show_default=False,
            help="Files of type .vqc, folders of them, or .npz files of this command; also tar shards and URLs of .vqc "
            "files if OUT is a .vqtok file.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            show_default="IN.npz or IN.vqc",
            help="A .npz file, a .vqc file, or a directory (made); or a .vqtok file: one packed shard of all inputs.",
        ),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Convert .vqc files losslessly to numpy arrays of token indices (.npz), or back; or pack them for training.

    Of a folder all .vqc files are converted, to the same folders in OUT. A file that fails does not end the command;
    the exit code is that of the first one.

    No network runs. An archive holds plane.0, plane.1 ... (coarse to fine), width, height (pixels), grey, model,
    identity, and alpha, icc, exif and xmp if the file has them.

    A packed shard (.vqtok) holds the raw indices of many pictures with their labels (.cls, .txt and .json files), for
    `vqcodec.data.TokenDataset`; alpha and metadata are left out.

    JSON keys: input, output, width, height (pixels), bytes (of the output), layers, planes, model; of a packed shard
    output, pictures, bytes, layers, planes, model.
    """
    given, out = inputs.split_output([Path(source) for source in sources], out, SUFFIXES, folders=True)
    if out is not None and Path(out).suffix.lower() == PACKED and not os.path.isdir(out):
        pack_tokens(sources[: len(given)], Path(out), force, json, quiet, max_pixels)
        return
    found = inputs.vqc_files(given)
    targets = [_target(source, inner, out, len(found) > 1 or os.path.isdir(given[0])) for source, inner in found]
    failures = Failures(len(found), json)
    for (source, _), target in zip(found, targets, strict=True):
        with failures.of(source):
            if target.parent != Path():
                files.make_folder(target.parent)
            files.check_target(target, force, (source,))
            _convert(source, target, force, json, quiet, max_pixels)
    failures.finish(quiet)


def _target(source: Path, inner: Path, out: str | None, several: bool) -> Path:
    """Output of `source`, whose path in the folder that named it is `inner`. Raises UsageError."""
    if out is not None and not several and Path(out).suffix.lower() in OTHER.values() and not os.path.isdir(out):
        return Path(out)
    suffix = OTHER.get(source.suffix.lower())
    if suffix is None:
        raise UsageError(f"{source}: name it .vqc or .npz, or name the output with -o: a .npz or a .vqc file")
    if out is None:
        return source.with_suffix(suffix)
    if Path(out).suffix and not os.path.isdir(out):
        raise UsageError(f"-o {out}: name a .npz file for arrays, a .vqc file, or a directory")
    return Path(out) / inner.with_suffix(suffix)


def _convert(source: Path, target: Path, force: bool, json: bool, quiet: bool, max_pixels: int) -> None:
    """Write the other form of `source` to `target`, and report it."""
    from vqcodec import api
    from vqcodec.tokens.npz import read_arrays, write_arrays

    given = files.read_input(source)
    with messages.naming(source):
        if target.suffix.lower() == ".npz":
            found = api.decode_tokens(given, max_pixels=max_pixels)
            data = write_arrays(found)
        else:
            found = read_arrays(given, max_pixels)
            data = api.encode_tokens(found)
    files.write_new(target, data, force)
    planes = sum(map(len, found.layers))
    if json:
        record = {"input": str(source), "output": str(target), "width": found.width, "height": found.height}
        messages.print_json(
            record | {"bytes": len(data), "layers": found.n_layers, "planes": planes, "model": found.model}
        )
    elif not quiet:
        messages.say(f"{target}: {planes} planes of model {found.model}, {len(data):,} bytes")
