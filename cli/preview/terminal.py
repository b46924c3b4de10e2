"""Preview in the terminal: pictures of half blocks in 24-bit colour, or a table where stdout is not a terminal.

A character cell is about twice as high as wide, so `▀` shows two square pixels: the upper one in the foreground
colour, the lower one in the background colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from .steps import Step

if TYPE_CHECKING:
    from PIL import Image

CELL_COLUMNS = 38
"""Fewest columns of a picture among several in a row: the longest usual caption."""
GAP = 2
"""Columns between two pictures."""
MIN_ROWS = 8


def can_show() -> bool:
    """True if stdout is a terminal that shows colours and half blocks."""
    console = Console()
    colours = console.is_terminal and console.color_system is not None and not console.no_color
    return colours and console.encoding.startswith("utf")


def print_table(steps: list[Step]) -> None:
    """Print layers, bytes, share of the file and bits per pixel of each step as plain text."""
    print(f"{'layers':>6} {'bytes':>12} {'% of file':>10} {'bpp':>8}")
    for step in steps:
        print(f"{step.layers:>6} {step.n_bytes:>12} {step.percent:>10.1f} {step.bpp:>8.4f}")


def show(steps: list[Step]) -> None:
    """Print the pictures, as many in a row as fit the terminal, each above its caption."""
    console = Console(highlight=False, markup=False, emoji=False)
    columns = max(1, min(len(steps), (console.width + GAP) // (CELL_COLUMNS + GAP)))
    width = (console.width + GAP) // columns - GAP
    rows = max(MIN_ROWS, console.height - 4)
    for first in range(0, len(steps), columns):
        cells = [_cell(step, width, rows) for step in steps[first : first + columns]]
        for line in zip(*cells, strict=True):
            console.print(Text(" " * GAP).join(line), no_wrap=True, overflow="crop", crop=True)
        console.print()


def _cell(step: Step, width: int, rows: int) -> list[Text]:
    """Lines of exactly `width` columns: the picture, centred, then the caption."""
    lines = half_blocks(step.picture, width, rows)
    lines.append(Text(step.caption if len(step.caption) <= width else step.caption.replace(" bytes", " B")))
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
