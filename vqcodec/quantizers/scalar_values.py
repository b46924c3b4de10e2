"""Index planes of a uniform quantizer as numbers, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config.quantizers import LARGEST
from ..planes import MISSING
from ..transforms.steps import step_size


def scalar_values(planes: Sequence[np.ndarray], step: int) -> np.ndarray:
    """Planes int32 [h, w] at a step number -> coefficients float32 [n, h, w], 0 where an index is missing."""
    found = np.empty((len(planes), *planes[0].shape), np.float32)
    for row, plane in zip(found, planes, strict=True):
        np.multiply(plane - LARGEST, np.float32(step_size(step)), out=row)
        row[plane == MISSING] = 0
    return found
