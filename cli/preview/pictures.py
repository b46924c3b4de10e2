"""Outputs of `vqcodec preview` that are pictures: the contact sheet (PNG) and the animation (WebP)."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from .steps import Shown

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


def animation(file: Shown) -> bytes:
    """An endless animated WebP: one captioned frame per step, the last one shown longer; then the original, if any."""
    cells = captions(file)
    size = max(MIN_FONT_PX, cells[0][0].width // 48)
    width = max(cell_width(*cell, size) for cell in cells)
    frames = [captioned(*cell, width, size) for cell in cells]
    times = [STEP_MS] * (len(frames) - 1) + [LAST_STEP_MS]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=90, method=4)
    return out.getvalue()


def contact_sheet(file: Shown) -> bytes:
    """A PNG with one captioned cell per step, in rows from left to right; the original, if any, is the last one."""
    from PIL import Image

    named = captions(file)
    width = max(MIN_CELL_PX, *(cell_width(*cell, SHEET_FONT_PX) for cell in named))
    cells = [captioned(*cell, width, SHEET_FONT_PX) for cell in named]
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


def captions(file: Shown) -> list[tuple[Image.Image, str]]:
    """Picture and caption of each step, then of the original if there is one."""
    cells = [(step.picture, step.caption) for step in file.steps]
    return cells if file.original is None else [*cells, (file.original, "original")]


def cell_width(picture: Image.Image, caption: str, size: int) -> int:
    """Width in pixels of the wider one of a picture and its caption in a font of `size` pixels."""
    return max(picture.width, math.ceil(_font(size).getlength(caption)) + 8)


def captioned(picture: Image.Image, caption: str, width: int, size: int) -> Image.Image:
    """RGB picture of `width` pixels: `picture` on a neutral background, with its caption in `size` pixels below."""
    from PIL import Image, ImageDraw

    picture = opaque(picture)
    canvas = Image.new("RGB", (width, picture.height + 2 * size), BACKGROUND)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    centre = (width / 2, picture.height + size)
    ImageDraw.Draw(canvas).text(centre, caption, fill=INK, font=_font(size), anchor="mm")
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
