"""Crops of index planes, in tokens: at random positions that depend on (seed, epoch, sample), or centred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..planes import MISSING, Grid
from .order import draw

Window = tuple[slice, slice]
"""Rows and columns of a grid."""


@dataclass(frozen=True)
class Crops:
    """Windows of `height` x `width` tokens; a smaller picture is padded with MISSING at the right and the bottom."""

    height: int
    width: int
    seed: int
    epoch: int
    centred: bool

    def window(self, sample: int, grids: Sequence[Grid]) -> Window:
        """The window in the planes of a sample. Raises UsageError for planes that do not share one grid."""
        if len(set(grids)) != 1 or len(grids[0]) != 2:
            raise UsageError(f"crop: planes of the shapes {sorted(set(grids))} cannot be cropped; leave it out")
        h, w = grids[0]
        free = max(h - self.height, 0), max(w - self.width, 0)
        if self.centred:
            y, x = free[0] // 2, free[1] // 2
        else:
            number = np.array([sample])
            y, x = (int(draw(number, n + 1, self.seed, self.epoch, axis)[0]) for axis, n in enumerate(free))
        return slice(y, min(y + self.height, h)), slice(x, min(x + self.width, w))

    def cut(self, planes: np.ndarray | list[np.ndarray], window: Window) -> np.ndarray:
        """The part of all planes in `window`, padded to the size of a crop: integers [S, height, width]."""
        y, x = window
        part = planes[:, y, x] if isinstance(planes, np.ndarray) else np.stack([plane[window] for plane in planes])
        if part.shape[1:] == (self.height, self.width):
            return part
        padded = np.full((len(part), self.height, self.width), MISSING, np.promote_types(part.dtype, np.int8))
        padded[:, : part.shape[1], : part.shape[2]] = part
        return padded
