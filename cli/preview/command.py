"""`vqcodec preview`: the command, which decodes the steps and hands them to one kind of output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError

from .. import options
from ..files import check_target, read_input, write_new
from ..messages import STDIO, naming, say
from .page import page
from .pictures import animation, contact_sheet
from .steps import picture_steps, plain_steps

MAX_SIDE = {".html": 1600, ".webp": 1280, ".png": 480}
"""Suffix of the output -> longest side of its pictures in pixels; larger pictures are scaled down."""
TERMINAL_SIDE = 480


def preview(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A .vqc file, complete or cut off; - is stdin.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="OUT.html, OUT.webp or OUT.png.", show_default="the terminal"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Number of steps at most, 1 or more.", show_default="one for each layer"),
    ] = None,
    force: options.Force = False,
    quiet: options.QuietShort = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
    debug: options.Debug = False,
) -> None:
    """Show a .vqc file from coarse to fine: the picture that each prefix of the file holds.

    Without -o the pictures appear in the terminal, or as a table of their sizes if stdout is not one; else the suffix
    of OUT determines the form:

    - .html: a page with a slider, in one file; at most 1600 pixels a side
    - .webp: an animation, at most 1280 pixels a side
    - .png: a contact sheet, cells of at most 480 pixels a side
    """
    from vqcodec.models.file_info import read_info

    from . import terminal

    kind = "" if out is None else _kind(out)
    name = "<stdin>" if source == STDIO else source.name
    if out is not None:
        check_target(out, force, (source,))
    data = read_input(source)
    as_table = out is None and not terminal.can_show()
    with naming(source):
        info = read_info(data, max_pixels)
        if as_table:
            found = plain_steps(info, len(data), steps)
        else:
            max_side = MAX_SIDE.get(kind, TERMINAL_SIDE)
            found = list(picture_steps(data, info, steps, max_side, device, max_pixels, quiet))
    if len(data) < info.file_bytes and not quiet:
        say(f"{name}: cut off at {len(data):,} of {info.file_bytes:,} bytes; the preview ends there")
    elif not all(step.complete for step in found) and not quiet:
        say(f"warning: {name}: damaged; the preview shows what is left (`vqcodec verify` names the fault)")
    if as_table:
        terminal.print_table(found)
        return
    if out is None:
        terminal.show(found)
        return
    if kind == ".html":
        data = page(name, info, len(data), found).encode("utf-8")
    else:
        data = animation(found) if kind == ".webp" else contact_sheet(found)
    write_new(out, data, force)
    if not quiet:
        say(f"{out}: {len(found)} step{'' if len(found) == 1 else 's'}, {len(data):,} bytes")


def _kind(out: Path) -> str:
    """The suffix of the output, a key of MAX_SIDE. Raises UsageError."""
    suffix = {".htm": ".html"}.get(out.suffix.lower(), out.suffix.lower())
    if suffix not in MAX_SIDE:
        raise UsageError(f"{out}: name an output that ends in .html, .webp or .png")
    return suffix
