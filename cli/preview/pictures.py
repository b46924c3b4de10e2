"""Outputs of `vqcodec preview` that are pictures: the contact sheet (PNG) and the animation (WebP)."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from .steps import Step

if TYPE_CHECKING:
    from PIL import Image, ImageFont

STEP_MS, LAST_STEP_MS = 700, 2400
"""Duration of a frame of the animation, and of its last frame, in milliseconds."""
BACKGROUND, INK = (24, 24, 26), (225, 225, 225)
CHECKER = ((96, 96, 96), (128, 128, 128))
"""Greys of the chequerboard behind transparent pixels."""
CHECKER_PX = 8
GAP_PX = 16
MIN_CELL_PX = 280
MIN_FONT_PX = 14
SHEET_FONT_PX = 16
SHEET_ASPECT = 1.6
"""Preferred width / height of a contact sheet, as of a screen."""


def animation(steps: list[Step]) -> bytes:
    """An endless animated WebP: one captioned frame per step, the last one shown longer."""
    size = max(MIN_FONT_PX, steps[0].picture.width // 48)
    width = max(cell_width(step, size) for step in steps)
    frames = [captioned(step, width, size) for step in steps]
    times = [STEP_MS] * (len(frames) - 1) + [LAST_STEP_MS]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=90, method=4)
    return out.getvalue()


def contact_sheet(steps: list[Step]) -> bytes:
    """A PNG with one captioned cell per step, in rows from left to right."""
    from PIL import Image

    width = max(MIN_CELL_PX, *(cell_width(step, SHEET_FONT_PX) for step in steps))
    cells = [captioned(step, width, SHEET_FONT_PX) for step in steps]
    height = cells[0].height
    columns, rows = sheet_shape(len(cells), width, height)
    sheet = Image.new("RGB", (columns * (width + GAP_PX) + GAP_PX, rows * (height + GAP_PX) + GAP_PX), BACKGROUND)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        sheet.paste(cell, (GAP_PX + column * (width + GAP_PX), GAP_PX + row * (height + GAP_PX)))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def sheet_shape(n: int, width: int, height: int) -> tuple[int, int]:
    """(columns, rows) for `n` cells of width x height pixels: few empty cells, and about SHEET_ASPECT."""

    def fault(columns: int) -> float:
        rows = -(-n // columns)
        return abs(math.log(columns * width / (rows * height) / SHEET_ASPECT)) + (columns * rows - n) / n

    columns = min(range(1, n + 1), key=fault)
    return columns, -(-n // columns)


def cell_width(step: Step, size: int) -> int:
    """Width in pixels of the wider one of a step's picture and its caption in a font of `size` pixels."""
    return max(step.picture.width, math.ceil(_font(size).getlength(step.caption)) + 8)


def captioned(step: Step, width: int, size: int) -> Image.Image:
    """RGB picture of `width` pixels: the step on a neutral background, with its caption in `size` pixels below."""
    from PIL import Image, ImageDraw

    picture = opaque(step.picture)
    canvas = Image.new("RGB", (width, picture.height + 2 * size), BACKGROUND)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    centre = (width / 2, picture.height + size)
    ImageDraw.Draw(canvas).text(centre, step.caption, fill=INK, font=_font(size), anchor="mm")
    return canvas


def opaque(image: Image.Image) -> Image.Image:
    """RGB; transparent pixels show a grey chequerboard."""
    if "A" not in image.getbands():
        return image.convert("RGB")
    from PIL import Image

    square = Image.new("RGB", (2, 2), CHECKER[0])
    square.putpixel((0, 1), CHECKER[1])
    square.putpixel((1, 0), CHECKER[1])
    square = square.resize((2 * CHECKER_PX, 2 * CHECKER_PX), Image.Resampling.NEAREST)
    board = Image.new("RGB", image.size)
    for y in range(0, image.height, square.height):
        for x in range(0, image.width, square.width):
            board.paste(square, (x, y))
    board.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return board


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
