"""The order in which the sub-tokens of one plane of a tile are coded.

A grid goes in four passes over a quarter of its positions each, so that a plane that is cut short is refined evenly
and not just at its top, and so that a context model can use neighbours on all sides:

    1 3 1 3
    4 2 4 2
    1 3 1 3
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""(row, column) within each 2x2 cell, in coding order."""


@lru_cache(maxsize=256)
def scan(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions int64 [n] of a plane of `shape` (h, w) or (L,) in coding order; a sequence goes straight on."""
    flat = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    order = flat if len(shape) == 1 else np.concatenate([flat[y::2, x::2].ravel() for y, x in PASSES])
    order.setflags(write=False)
    return order
