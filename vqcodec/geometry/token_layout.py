"""Layout of the tokens of a picture: shapes of its planes, access tiles, and the part of a plane that each tile holds.

Most models have one grid of tokens for the whole picture: a plane is [h, w], and an access tile is a part of the grid.
Models with a `window` encode squares of a fixed size independently: a plane is [windows, *], and an access tile is one
window.

    grid      disjoint tiles of one grid, by default 512 px
    windows   windows of `window_px`, neighbours overlap by `overlap`; the last of a row ends at the picture's border
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config.model import TokenizerConfig
from ..config.quantizers import UniformConfig
from ..container import MAX_TILE, Header, tiles_along
from .rectangles import Rect, grid_size, split


@dataclass(frozen=True)
class Tile:
    """Access tile: its rectangle of pixels, and the position of its tokens in every plane."""

    pixels: Rect
    """Rectangle in pixels; it may extend beyond the picture."""
    index: tuple[slice, slice] | int
    """Rows and columns of the grid, or the number of a window."""

    def of(self, plane: np.ndarray) -> np.ndarray:
        """The part of a plane that belongs to this tile, as a view."""
        part: np.ndarray = plane[self.index]
        return part


def plane_shapes(config: TokenizerConfig, width: int, height: int) -> list[tuple[int, ...]]:
    """Shape of each plane of a picture of `width` x `height` px."""
    if not config.window_px:
        return list(config.quantizer.shapes(grid_size(width, height, config.stride)))
    count = len(window_rects(config, width, height))
    return [(count, *shape) for shape in config.window_shapes()]


def window_rects(config: TokenizerConfig, width: int, height: int) -> list[Rect]:
    """Windows over a picture, row by row, in px. All have the full size; edges of a smaller picture are repeated."""
    rows, columns = (_starts(length, config.window_px, config.overlap) for length in (height, width))
    return [Rect(y, y + config.window_px, x, x + config.window_px) for y in rows for x in columns]


def _starts(length: int, window_px: int, overlap: int) -> list[int]:
    last = max(length - window_px, 0)
    return [min(i * (window_px - overlap), last) for i in range(tiles_along(length, window_px, overlap))]


def access_tiles(header: Header, config: TokenizerConfig) -> list[Tile]:
    """Access tiles of a picture, row by row."""
    if config.window_px:
        rects = window_rects(config, header.width, header.height)
        return [Tile(rect, number) for number, rect in enumerate(rects)]
    return [Tile(part.times(config.stride), part.slices) for part in grid_tiles(header, config.stride)]


def grid_tiles(header: Header, stride: int) -> list[Rect]:
    """Access tiles of a picture whose tokens are one grid, in token steps."""
    h, w = grid_size(header.width, header.height, stride)
    return list(split(Rect(0, h, 0, w), header.tile // stride))


STEPPED_TILE_PX = 2048
"""Side of the access tiles of models with a quantization step, px, and the largest side that is read. Smaller tiles
cost too much overhead at the low rates of these models; the memory of their context network grows with the square."""


def fits(header: Header, config: TokenizerConfig) -> bool:
    """Return True if a model with `config` can have written the tiles that `header` declares."""
    if config.window_px:
        return (header.tile, header.overlap) == (config.window_px, config.overlap)
    most = STEPPED_TILE_PX if isinstance(config.quantizer, UniformConfig) else MAX_TILE
    return not header.tile % config.stride and not header.overlap and header.tile <= most
