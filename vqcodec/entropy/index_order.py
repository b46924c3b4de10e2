"""Coding order of one plane of indices of a tile.

A grid is coded in four passes over a quarter of its positions each (1, 2, 3, 4 below), so that a plane that is cut
short is refined evenly over the tile, and so that a context model sees coded neighbours on all sides:

    1 3 1 3
    4 2 4 2
    1 3 1 3

With several grids the first pass is divided in the same way: its positions are a grid of twice the spacing, which is
coded in four passes itself, and so on. A context model then knows neighbours for nearly all positions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

CACHED = 2**14
"""Most positions of a plane whose order is kept in memory."""
CELL = ((0, 0), (1, 1), (0, 1), (1, 0))
"""(row, column) within each 2x2 cell, in coding order."""
MOST_GRIDS = 4
"""Most grids of a plane: the coarsest one then has a position in each 8x8, and the self-test reaches all passes."""


class Pass(NamedTuple):
    """Positions (y + 2 i spacing, x + 2 j spacing) of a plane, coded one after another by rows."""

    y: int
    x: int
    spacing: int
    """Distance of neighbouring positions of the grid that the pass belongs to: 2^k in grid k, finest first."""
    grid: int
    """Number of the grid, 0 for the finest."""

    @property
    def positions(self) -> tuple[slice, slice]:
        """Rows and columns of the pass."""
        return slice(self.y, None, 2 * self.spacing), slice(self.x, None, 2 * self.spacing)


def passes(grids: int = 1) -> tuple[Pass, ...]:
    """The 3 * grids + 1 passes over a plane, in coding order: all four of the coarsest grid, then three of each."""
    return tuple(
        Pass(y << k, x << k, 1 << k, k)
        for k in reversed(range(grids))
        for y, x in CELL
        if k == grids - 1 or (y, x) != CELL[0]
    )


def scan(shape: tuple[int, ...], grids: int = 1) -> np.ndarray:
    """Flat positions int64 [n] of a plane of `shape` (h, w) or (L,) in coding order; a sequence is coded in order."""
    return _kept_scan(shape, grids) if math.prod(shape) <= CACHED else _scan(shape, grids)


def _scan(shape: tuple[int, ...], grids: int) -> np.ndarray:
    flat = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    order = flat if len(shape) == 1 else np.concatenate([flat[p.positions].ravel() for p in passes(grids)])
    order.setflags(write=False)
    return order


_kept_scan = lru_cache(maxsize=256)(_scan)
