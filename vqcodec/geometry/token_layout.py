"""Where the tokens of a picture are: the shape of its planes, its access tiles, and which part of a plane each holds.

Two layouts. Most models have one grid of tokens for the whole picture; an access tile is a part of it, and a plane is
[h, w]. Models with a `window` turn squares of a fixed size into tokens, each on its own; an access tile is such a
window, and a plane is [windows, *], one entry of the first axis for each.

    grid      512 px tiles side by side, cut from one grid
    windows   windows of the model's side, `overlap` into each other; the last of a row ends where the picture does
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config.model import TokenizerConfig, UniformConfig
from ..container import MAX_TILE, Header, tiles_along
from .rectangles import Rect, grid_size, split


@dataclass(frozen=True)
class Tile:
    """An access tile: the pixels it stands for, and where its tokens are in every plane."""

    pixels: Rect
    """May reach beyond the picture."""
    index: tuple[slice, slice] | int
    """Rows and columns of a grid, or the number of a window."""

    def of(self, plane: np.ndarray) -> np.ndarray:
        """The tile's own part of a plane, a view."""
        part: np.ndarray = plane[self.index]
        return part


def plane_shapes(config: TokenizerConfig, width: int, height: int) -> list[tuple[int, ...]]:
    """Shape of each plane of a picture of `width` x `height` px."""
    if not config.window_px:
        return list(config.quantizer.shapes(grid_size(width, height, config.stride)))
    count = len(window_rects(config, width, height))
    return [(count, *shape) for shape in config.window_shapes()]


def window_rects(config: TokenizerConfig, width: int, height: int) -> list[Rect]:
    """The windows over a picture, row by row, in px. All have the full side: a smaller picture is continued."""
    rows, columns = (_starts(length, config.window_px, config.overlap) for length in (height, width))
    return [Rect(y, y + config.window_px, x, x + config.window_px) for y in rows for x in columns]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    last = max(length - side, 0)
    return [min(i * (side - overlap), last) for i in range(tiles_along(length, side, overlap))]


def access_tiles(header: Header, config: TokenizerConfig) -> list[Tile]:
    """The access tiles of a picture, row by row."""
    if config.window_px:
        rects = window_rects(config, header.width, header.height)
        return [Tile(rect, number) for number, rect in enumerate(rects)]
    return [Tile(part.times(config.stride), part.slices) for part in grid_tiles(header, config.stride)]


def grid_tiles(header: Header, stride: int) -> list[Rect]:
    """The access tiles of a picture whose tokens are one grid, in steps of it."""
    h, w = grid_size(header.width, header.height, stride)
    return list(split(Rect(0, h, 0, w), header.tile // stride))


STEPPED_TILE_PX = 2048
"""Side of an access tile of models with a quantization step, and the largest that is read: their low rates leave no
room for many segments, and the memory of their context network goes with its square."""


def fits(header: Header, config: TokenizerConfig) -> bool:
    """Whether the tiles of a file can be those of a model."""
    if config.window_px:
        return (header.tile, header.overlap) == (config.window_px, config.overlap)
    most = STEPPED_TILE_PX if isinstance(config.quantizer, UniformConfig) else MAX_TILE
    return not header.tile % config.stride and not header.overlap and header.tile <= most
