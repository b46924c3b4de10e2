"""`vqcodec preview`: the command, which decodes the steps and hands them to one kind of output."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqcodec.errors import UsageError, VqcError
from vqcodec.runtime.progress import Part, working

from .. import inputs, options
from ..files import check_target, read_input, write_new
from ..info_table import head_of
from ..messages import STDIO, naming, print_line, say
from ..profile import profiled
from ..progress import FileProgress, file_bar
from ..several import Failures
from .original import Original, find_original
from .page import page
from .pictures import animation, contact_sheet
from .steps import FEWEST_STEPS, Shown, Sides, Step, default_steps, picture_steps, plain_steps

if TYPE_CHECKING:
    from vqcodec.models.file_info import Info

SIDES = {".html": Sides(1600, 16383), ".webp": Sides(1280, 1280), ".png": Sides(480, 480)}
"""Suffix of the output -> longest sides of its pictures; 16383 is the limit of WebP."""
GALLERY_SIDES = Sides(1280, 16383)
SMALL_GALLERY_SIDES = Sides(1280, 1600)
GALLERY_PIXELS = 2 * 10**8
"""Most pixels of the files of a gallery that holds their last steps in full size; a browser decodes them all."""
TERMINAL_SIDES = Sides(1600, 1600)
GALLERY_STEPS = 4
"""Steps of each file of a gallery, where the option is not given."""
TERMINAL_STEPS = 3
"""Steps in a terminal, where the option is not given."""


@dataclass(frozen=True)
class Wanted:
    """Options of the preview of each file."""

    steps: int | None
    sides: Sides | None
    """None: figures without pictures."""
    device: str
    max_pixels: int
    quiet: bool


@profiled
def preview(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...",
            show_default=False,
            help="Files of type .vqc, complete or cut off, or folders of them; - is stdin.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--output", help="OUT.html, OUT.webp or OUT.png.", show_default="the terminal"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="Number of steps at most, 1 or more.",
            show_default=f"one for each layer, down to {FEWEST_STEPS} for large pictures; {GALLERY_STEPS} in a "
            f"gallery, {TERMINAL_STEPS} in a terminal",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="ORIGINAL",
            help="The original picture, to compare with; for several files the folder of the originals.",
        ),
    ] = None,
    graphics: Annotated[
        str,
        typer.Option("--graphics", metavar="KIND", help="In the terminal: auto, kitty, sixel, blocks or none."),
    ] = "auto",
    force: options.Force = False,
    quiet: options.QuietShort = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
    profile: options.Profile = False,
    debug: options.Debug = False,
) -> None:
    """Show .vqc files from coarse to fine: the picture that each prefix of a file holds.

    Without -o the pictures appear in the terminal, or as a table of their sizes if stdout is not one; else the suffix
    of OUT determines the form:

    - .html: a page with a slider, in one file; at most 1600 pixels a side, the last step in full size. Several files,
      or a folder, make a gallery
    - .webp: an animation, at most 1280 pixels a side
    - .png: a contact sheet, cells of at most 480 pixels a side

    --against adds the original to the page, behind a divider that moves, and to each step PSNR (dB) and MS-SSIM (0..1)
    at full size.
    """
    with working(Part.START_UP):
        from . import terminal

    sources, out = inputs.split_output(sources, out, SIDES, folders=True)
    found = inputs.vqc_files(sources)
    several = len(found) > 1
    target = None if out is None else Path(out)
    kind = "" if target is None else _kind(target, several)
    if target is not None:
        check_target(target, force, tuple(source for source, _ in found))
    pictures = "none" if target is not None else terminal.pictures(graphics)
    sides = _sides(kind, [source for source, _ in found], pictures != "none", max_pixels)
    wanted = Wanted(steps or _default_steps(kind, several, pictures != "none"), sides, device, max_pixels, quiet)
    failures = Failures(len(found))
    shown: list[Shown] = []
    with ExitStack() as stack:
        # In a terminal each file has a bar of its own, which has disappeared when its pictures are printed.
        bar = (
            None
            if target is None
            else stack.enter_context(file_bar("decoding", [source for source, _ in found], quiet))
        )
        for source, inner in found:
            with failures.of(source), naming(source):
                original = None if against is None else Original(find_original(against, inner, several), max_pixels)
                file = _decode(source, inner if several else Path(source.name), original, wanted, bar)
                if target is not None:
                    shown.append(file)
                    continue
                if several:
                    print_line(f"{source}:")
                terminal.show(file, pictures)
    if target is not None and shown:
        with working(Part.PICTURE_OUT):
            data = _written(kind, shown)
            write_new(target, data, force)
        if not quiet:
            _report(target, shown, len(data), chosen=steps is not None)
    failures.finish(quiet)


def _kind(out: Path, several: bool) -> str:
    """The suffix of the output, a key of SIDES. Raises UsageError."""
    suffix = {".htm": ".html"}.get(out.suffix.lower(), out.suffix.lower())
    if suffix not in SIDES:
        raise UsageError(f"{out}: name an output that ends in .html, .webp or .png")
    if several and suffix != ".html":
        raise UsageError(f"{out}: several files make a gallery: name an output that ends in .html")
    return suffix


def _default_steps(kind: str, several: bool, pictures: bool) -> int | None:
    if kind:
        return GALLERY_STEPS if several else None
    return TERMINAL_STEPS if pictures else None


def _sides(kind: str, sources: list[Path], pictures: bool, max_pixels: int) -> Sides | None:
    if not kind:
        return TERMINAL_SIDES if pictures else None
    if len(sources) == 1:
        return SIDES[kind]
    return GALLERY_SIDES if _pixels(sources, max_pixels) <= GALLERY_PIXELS else SMALL_GALLERY_SIDES


def _pixels(sources: list[Path], max_pixels: int) -> int:
    """Pixels of all files together; files that cannot be read count none, and are reported later."""
    from vqcodec.models.file_info import read_info

    total = 0
    for source in sources:
        with suppress(VqcError):
            info = read_info(head_of(source)[0], max_pixels)
            total += info.width * info.height
    return total


def _decode(source: Path, name: Path, original: Original | None, wanted: Wanted, bar: FileProgress | None) -> Shown:
    """The file with its steps; those without pictures are measured all the same where there is an original."""
    from vqcodec.models.file_info import read_info

    data = read_input(source)
    info = read_info(data, wanted.max_pixels)
    sides = wanted.sides or Sides(1, 1)
    text = "<stdin>" if source == STDIO else str(name)
    if wanted.sides is None and original is None:
        steps = plain_steps(info, len(data), wanted.steps)
    else:
        bars = file_bar("decoding", [source], wanted.quiet) if bar is None else nullcontext(bar)
        with bars as progress, progress.file(text):
            progress.pixels = info.width * info.height
            options = (wanted.device, wanted.max_pixels)
            n_steps = wanted.steps or (None if wanted.sides is None else default_steps(info))
            steps = list(picture_steps(data, info, n_steps, sides, original, *options))
    if not wanted.quiet:
        _warn(text, info, len(data), steps)
    return Shown(text, info, len(data), steps, None if original is None else original.for_screen(sides.last))


def _warn(name: str, info: Info, n_bytes: int, steps: list[Step]) -> None:
    if _is_cut(info, n_bytes):
        say(f"{name}: cut off at {n_bytes:,} of {info.file_bytes:,} bytes; the preview ends there")
    elif not all(step.complete for step in steps):
        say(f"warning: {name}: damaged; the preview shows what is left (`vqcodec verify` names the fault)")


def _written(kind: str, shown: list[Shown]) -> bytes:
    if kind == ".html":
        return page(shown).encode("utf-8")
    return animation(shown[0]) if kind == ".webp" else contact_sheet(shown[0])


def _report(target: Path, shown: list[Shown], n_bytes: int, chosen: bool) -> None:
    """Tell what was written, and how to see every layer unless the user has `chosen` the number of steps."""
    steps, layers = len(shown[0].steps), len(shown[0].info.layers)
    what = f"{len(shown)} files" if len(shown) > 1 else f"{steps} step{'' if steps == 1 else 's'}"
    more = f" (--steps {layers}: one for each layer)" if not chosen and _has_more_steps(shown) else ""
    say(f"{target}: {what}{more}, {n_bytes:,} bytes")


def _has_more_steps(shown: list[Shown]) -> bool:
    """True if the default number of steps leaves out layers of a single file, which is complete; empty ones aside."""
    info, n_bytes = shown[0].info, shown[0].n_bytes
    most = len(plain_steps(info, n_bytes, len(info.layers)))
    return len(shown) == 1 and not _is_cut(info, n_bytes) and len(shown[0].steps) < most


def _is_cut(info: Info, n_bytes: int) -> bool:
    return n_bytes < info.file_bytes
