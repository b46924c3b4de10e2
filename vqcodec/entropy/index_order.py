"""Coding order of one plane of indices of a tile.

A grid is coded in four passes over a quarter of its positions each (1, 2, 3, 4 below), so that a plane that is cut
short is refined evenly over the tile, and so that a context model sees coded neighbours on all sides:

    1 3 1 3
    4 2 4 2
    1 3 1 3
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""(row, column) within each 2x2 cell, in coding order."""


CACHED = 2**14
"""Most positions of a plane whose order is kept in memory."""


def scan(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions int64 [n] of a plane of `shape` (h, w) or (L,) in coding order; a sequence is coded in order."""
    return _kept_scan(shape) if math.prod(shape) <= CACHED else _scan(shape)


def _scan(shape: tuple[int, ...]) -> np.ndarray:
    flat = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    order = flat if len(shape) == 1 else np.concatenate([flat[y::2, x::2].ravel() for y, x in PASSES])
    order.setflags(write=False)
    return order


_kept_scan = lru_cache(maxsize=256)(_scan)
