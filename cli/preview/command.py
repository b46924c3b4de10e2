"""`vqcodec preview`: a file from coarse to fine, as a page, an animation, a contact sheet or in the terminal.

Here: the command, its steps, and the two outputs that are pictures themselves; `preview_page.py` and
`preview_terminal.py` hold the others.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqcodec.errors import UsageError

from .. import options
from ..output import STDIO, check_target, naming, read_input, say, write_new
from .page import page

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from vqcodec.models.file_info import Info

LONGEST_SIDE = {".html": 1600, ".webp": 1280, ".png": 480}
"""Pixels; larger pictures are scaled down."""
TERMINAL_SIDE = 480
STEP_MS, LAST_STEP_MS = 700, 2400
BACKGROUND, CHECKER, INK = (24, 24, 26), ((96, 96, 96), (128, 128, 128)), (225, 225, 225)
GAP = 16
NARROWEST_CELL = 280


@dataclass(frozen=True)
class Step:
    """One step from coarse to fine."""

    layers: int
    n_layers: int
    """Layers of the whole file."""
    n_bytes: int
    """Length of the prefix of the file that shows it."""
    percent: float
    """Of the complete file, 0..100."""
    bpp: float
    """Bits per pixel of that prefix."""
    image: Image.Image | None = None
    """In sRGB, possibly scaled down; None where only figures are printed."""
    complete: bool = True
    """Whether the file is undamaged."""

    @property
    def caption(self) -> str:
        """Such as "3 layers · 4,512 bytes · 0.19 bpp"."""
        plural = "" if self.layers == 1 else "s"
        return f"{self.layers} layer{plural} · {self.n_bytes:,} bytes · {format_bpp(self.bpp)} bpp"


def preview(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A .vqc file, whole or cut off; - is stdin.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="OUT.html, OUT.webp or OUT.png.", show_default="the terminal"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Show at most this many steps.", show_default="one for each layer"),
    ] = None,
    force: options.Force = False,
    quiet: options.QuietShort = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
    debug: options.Debug = False,
) -> None:
    """Show a .vqc file from coarse to fine: what its first bytes give already.

    Without -o in the terminal, or as a table if stdout is not one; else by the suffix of OUT:

        .html  a page with a slider, in one file; at most 1600 pixels a side
        .webp  an animation, at most 1280 pixels a side
        .png   a contact sheet, cells of at most 480 pixels a side
    """
    from vqcodec.models.file_info import read_info

    from .terminal import can_show, print_table, show

    kind = "" if out is None else _kind(out)
    name = "<stdin>" if source == STDIO else source.name
    if out is not None:
        check_target(out, force, (source,))
    data = read_input(source)
    as_table = out is None and not can_show()
    with naming(source):
        info = read_info(data, max_pixels)
        if as_table:
            shown = plain_steps(info, len(data), steps)
        else:
            side = LONGEST_SIDE.get(kind, TERMINAL_SIDE)
            shown = list(picture_steps(data, info, steps, side, device, max_pixels, quiet))
    if len(data) < info.file_bytes and not quiet:
        say(f"{name}: cut off at {len(data):,} of {info.file_bytes:,} bytes; shown as far as it goes")
    elif not all(step.complete for step in shown) and not quiet:
        say(f"warning: {name}: damaged; shown as far as it goes (`vqcodec verify` says where)")
    if as_table:
        print_table(shown)
        return
    if out is None:
        show(shown)
        return
    if kind == ".html":
        made = page(name, info, len(data), shown).encode("utf-8")
    else:
        made = animation(shown) if kind == ".webp" else contact_sheet(shown)
    write_new(out, made, force)
    if not quiet:
        say(f"{out}: {len(shown)} step{'' if len(shown) == 1 else 's'}, {len(made):,} bytes")


def format_bpp(bpp: float) -> str:
    """Two decimals, three where two would say too little."""
    return f"{bpp:.2f}" if bpp >= 0.1 else f"{bpp:.3f}"


def plain_steps(info: Info, n_bytes: int, steps: int | None) -> list[Step]:
    """The steps without pictures; needs neither torch nor the model."""
    from vqcodec.api import preview_steps

    shown: list[Step] = []
    for keep in preview_steps(len(info.layers), steps):
        step = _step(info, keep, min(info.layers[keep - 1].end, n_bytes))
        if not shown or step.n_bytes > shown[-1].n_bytes:  # what is cut off adds no step
            shown.append(step)
    return shown


def picture_steps(
    data: bytes, info: Info, steps: int | None, side: int, device: str, max_pixels: int, quiet: bool
) -> Iterator[Step]:
    """The steps with pictures of at most `side` pixels a side; a progress bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    from vqcodec import previews

    wanted = {step.layers: step for step in plain_steps(info, len(data), steps)}
    hidden = quiet or not sys.stderr.isatty()
    found = previews(data, steps, device=device, max_pixels=max_pixels)
    for _ in track(wanted, "decoding", console=Console(stderr=True), transient=True, disable=hidden):
        one = next(found)
        step = _step(info, one.keep, one.n_bytes, for_screen(one.image, side))
        yield replace(step, complete=one.complete)


def for_screen(image: Image.Image, side: int) -> Image.Image:
    """The picture in sRGB, without metadata, scaled down to `side` pixels a side."""
    from PIL import Image

    from vqcodec.image.picture import from_pillow, strip, to_pillow

    small = image.copy()
    small.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return to_pillow(strip(from_pillow(small)))


def animation(steps: list[Step]) -> bytes:
    """An animated WebP that loops: one captioned frame for each step, the last one longer."""
    size = max(14, steps[0].image.width // 48) if steps[0].image else 14
    width = max(cell_width(step, size) for step in steps)
    frames = [captioned(step, width, size) for step in steps]
    times = [STEP_MS] * (len(frames) - 1) + [LAST_STEP_MS]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=90, method=4)
    return out.getvalue()


def contact_sheet(steps: list[Step]) -> bytes:
    """A PNG with one captioned cell for each step, in rows from left to right."""
    from PIL import Image

    width = max(NARROWEST_CELL, *(cell_width(step, 16) for step in steps))
    cells = [captioned(step, width, 16) for step in steps]
    columns, rows = sheet_shape(len(cells), width, cells[0].height)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (cells[0].height + GAP) + GAP), BACKGROUND)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        sheet.paste(cell, (GAP + column * (width + GAP), GAP + row * (cell.height + GAP)))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def sheet_shape(n: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows for `n` cells: few empty places, and a sheet about 1.6 times as wide as high."""

    def fault(columns: int) -> float:
        rows = -(-n // columns)
        return abs(math.log(columns * width / (rows * height) / 1.6)) + (columns * rows - n) / n

    columns = min(range(1, n + 1), key=fault)
    return columns, -(-n // columns)


def cell_width(step: Step, size: int) -> int:
    """Pixels that the picture of `step` and its caption need."""
    return max(step.image.width if step.image else 0, math.ceil(_font(size).getlength(step.caption)) + 8)


def captioned(step: Step, width: int, size: int) -> Image.Image:
    """RGB picture of `width` pixels: the step on neutral ground, its caption in `size` pixels below."""
    from PIL import Image, ImageDraw

    assert step.image is not None
    picture = opaque(step.image)
    canvas = Image.new("RGB", (width, picture.height + 2 * size), BACKGROUND)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    place = (width / 2, picture.height + size)
    ImageDraw.Draw(canvas).text(place, step.caption, fill=INK, font=_font(size), anchor="mm")
    return canvas


def opaque(image: Image.Image) -> Image.Image:
    """RGB; what is transparent shows a grey chequerboard."""
    if "A" not in image.getbands():
        return image.convert("RGB")
    from PIL import Image

    board = Image.new("RGB", (2, 2), CHECKER[0])
    board.putpixel((0, 1), CHECKER[1])
    board.putpixel((1, 0), CHECKER[1])
    squares = (-(-image.width // 16) * 16, -(-image.height // 16) * 16)
    ground = Image.new("RGB", squares)
    square = board.resize((16, 16), Image.Resampling.NEAREST)
    for y in range(0, squares[1], 16):
        for x in range(0, squares[0], 16):
            ground.paste(square, (x, y))
    ground = ground.crop((0, 0, *image.size))
    ground.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return ground


def _kind(out: Path) -> str:
    suffix = {".htm": ".html"}.get(out.suffix.lower(), out.suffix.lower())
    if suffix not in LONGEST_SIDE:
        raise UsageError(f"{out}: give a name that ends in .html, .webp or .png")
    return suffix


def _step(info: Info, keep: int, n_bytes: int, image: Image.Image | None = None) -> Step:
    bpp = 8 * n_bytes / (info.width * info.height)
    return Step(keep, len(info.layers), n_bytes, 100 * n_bytes / info.file_bytes, bpp, image)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
