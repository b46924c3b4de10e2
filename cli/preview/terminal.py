"""Preview in the terminal: pictures by its graphics protocol or of half blocks, or a table where there is no terminal.

A character cell is about twice as high as wide, so `▀` shows two square pixels: the upper one in the foreground
colour, the lower one in the background colour.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from vqcodec.errors import UsageError

from . import graphics
from .pictures import captions, opaque
from .steps import Shown, Step

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("auto", "kitty", "sixel", "blocks", "none")
"""Values of --graphics."""
MIN_COLUMNS = 72
"""Fewest columns of a picture of half blocks beside another one."""
GAP = 2
"""Columns between two pictures."""
MIN_ROWS = 8


def pictures(kind: str) -> str:
    """Method that stdout shows pictures by: "kitty", "sixel", "blocks" or "none".

    `kind` is one of KINDS; "auto" asks the terminal. Raises UsageError for any other.
    """
    if kind not in KINDS:
        raise UsageError(f"--graphics {kind}: use {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if kind != "auto":
        return kind
    if not can_show():
        return "none"
    return graphics.protocol() or "blocks"


def can_show() -> bool:
    """True if stdout is a terminal that shows colours and half blocks."""
    console = Console()
    colours = console.is_terminal and console.color_system is not None and not console.no_color
    return colours and console.encoding.startswith("utf")


def show(file: Shown, kind: str) -> None:
    """Print the steps of a file, and its original, as `pictures` says."""
    if kind == "none":
        print_table(file.steps)
    elif kind == "blocks":
        show_blocks(file)
    else:
        show_graphics(file, kind)


def print_table(steps: list[Step]) -> None:
    """Print layers, bytes, share of the file, bits per pixel and measured quality of each step as plain text."""
    measured = steps[0].psnr is not None
    quality = f" {'PSNR dB':>8} {'MS-SSIM':>8}" if measured else ""
    print(f"{'layers':>6} {'bytes':>12} {'% of file':>10} {'bpp':>8}{quality}")
    for step in steps:
        ms_ssim = "n/a" if step.ms_ssim is None else f"{step.ms_ssim:.4f}"
        quality = f" {step.psnr:>8.2f} {ms_ssim:>8}" if measured else ""
        print(f"{step.layers:>6} {step.n_bytes:>12} {step.percent:>10.1f} {step.bpp:>8.4f}{quality}")


def show_graphics(file: Shown, kind: str) -> None:
    """Print the pictures by the protocol `kind`, each as large as the terminal allows, above its caption."""
    columns, rows, cell = graphics.size()
    encode = {"kitty": graphics.kitty, "sixel": graphics.sixel}[kind]
    for picture, caption in captions(file):
        scaled = graphics.fitted(opaque(picture), columns * cell[0], max(MIN_ROWS, rows - 3) * cell[1])
        sys.stdout.write(f"{encode(scaled)}\n{caption}\n\n")
    sys.stdout.flush()


def show_blocks(file: Shown) -> None:
    """Print the pictures of half blocks, as many in a row as are at least MIN_COLUMNS wide, each above its caption."""
    console = Console(highlight=False, markup=False, emoji=False)
    named = captions(file)
    columns = max(1, min(len(named), (console.width + GAP) // (MIN_COLUMNS + GAP)))
    width = (console.width + GAP) // columns - GAP
    rows = max(MIN_ROWS, console.height - 4)
    for first in range(0, len(named), columns):
        cells = [_cell(picture, caption, width, rows) for picture, caption in named[first : first + columns]]
        for line in zip(*cells, strict=True):
            console.print(Text(" " * GAP).join(line), no_wrap=True, overflow="crop", crop=True)
        console.print()


def _cell(picture: Image.Image, caption: str, width: int, rows: int) -> list[Text]:
    """Lines of exactly `width` columns: the picture, centred, then the caption."""
    lines = half_blocks(picture, width, rows)
    lines.append(Text(caption if len(caption) <= width else caption.replace(" bytes", " B")))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.pad_left((width - line.cell_len) // 2)
        line.pad_right(width - line.cell_len)
    return lines


def half_blocks(image: Image.Image, width: int, rows: int) -> list[Text]:
    """The picture in at most `width` columns and `rows` lines; transparent pixels are black."""
    from PIL import Image

    scale = min(width / image.width, 2 * rows / image.height)
    across = max(1, round(image.width * scale))
    down = max(1, round(image.height * scale / 2))
    small = image.convert("RGBA").resize((across, 2 * down), Image.Resampling.BOX if scale < 1 else None)
    background = Image.new("RGBA", small.size, "black")
    pixels: Any = Image.alpha_composite(background, small).convert("RGB").load()
    lines = []
    for y in range(0, 2 * down, 2):
        line = Text()
        for x in range(across):
            upper, lower = pixels[x, y], pixels[x, y + 1]
            line.append("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        lines.append(line)
    return lines
