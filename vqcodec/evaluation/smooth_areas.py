"""Errors of smooth areas that PSNR hides: wrong colours of whole patches, and steps between neighbouring patches.

Both use the error of the mean of each 16x16 patch and channel, decoded minus original, in levels of 0..255. Texture and
noise cancel out in the mean; an offset of a whole area does not.
"""

from __future__ import annotations

import numpy as np

from ..metrics import Pixels

PATCH_PX = 16


def mean_errors(a: Pixels, b: Pixels) -> np.ndarray:
    """Error of the mean of each patch, decoded `b` minus original `a`, both uint8 [H, W, 3]; float [rows, columns, 3].

    Patches that the lower and right borders cut off are left out, unless the picture is smaller than a patch.
    """
    side = [min(PATCH_PX, n) for n in a.shape[:2]]
    rows, columns = (n // s for n, s in zip(a.shape[:2], side, strict=True))
    error = b[: rows * side[0], : columns * side[1]].astype(np.float32) - a[: rows * side[0], : columns * side[1]]
    return error.reshape(rows, side[0], columns, side[1], 3).mean((1, 3), dtype=np.float64)


def patch_error(a: Pixels, b: Pixels) -> float:
    """Largest absolute error of the mean of a patch, 0..255 levels."""
    return float(np.abs(mean_errors(a, b)).max())


def step_error(a: Pixels, b: Pixels) -> float:
    """Largest difference of the errors of two neighbouring patches, levels: a step that the original does not have."""
    errors = mean_errors(a, b)
    steps = [np.abs(np.diff(errors, axis=axis)) for axis in (0, 1)]
    return float(max((step.max() for step in steps if step.size), default=0.0))
