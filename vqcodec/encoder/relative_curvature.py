"""Relative curvature of the distortion by wavelet level and position, for steps of latent refinement.

MS-SSIM (Wang et al. 2003) divides a squared error at scale j by the local variance v_j around it: the second derivative
of 1 - MS-SSIM in the error is about as w_j / (2 v_j + C2), w_j the weight of the scale. An error of level l
is part of the scales 0..l, and one of the low band of all. The distortion (distortion.py) has a share SIMILARITY of
1 - MS-SSIM, so its curvature is

    (1 - SIMILARITY) + SIMILARITY * W / mean(W)        W = sum over the scales of w_j / (2 v_j + C2)
"""

from __future__ import annotations

import numpy as np

from ..entropy.scalar_order import layers_of
from .distortion import LEAST_PX, SIMILARITY, WEIGHTS

BLOCK = 4
"""Side of the blocks whose variance is taken at each scale, px: two halvings, about the Gaussian window of MS-SSIM."""
C2 = (0.03 * 255) ** 2
"""The constant C2 of structural similarity, in squared levels of 255."""


def relative_curvatures(pixels: np.ndarray, levels: int) -> list[np.ndarray] | None:
    """Relative curvature float32 [h, w] for each layer of a latent with `levels` levels within a stride; means are 1.

    `pixels` uint8 [H, W, 3]; [h, w] is the grid of the latent. None where MS-SSIM is not defined.
    """
    if min(pixels.shape[:2]) <= LEAST_PX:
        return None
    stride = 2**levels
    h, w = (-(-side // stride) for side in pixels.shape[:2])
    maps = [weight * found for weight, found in zip(WEIGHTS, _sensitivities(pixels, stride, (h, w)), strict=True)]
    curvatures = []
    for layer in layers_of(levels):
        scales = len(maps) if layer.low else layer.level_numbers[0] + 1
        total = np.sum(maps[:scales], axis=0, dtype=np.float32)
        curvatures.append((1 - SIMILARITY) + SIMILARITY * total / total.mean())
    return curvatures


def _sensitivities(pixels: np.ndarray, stride: int, grid: tuple[int, int]) -> list[np.ndarray]:
    """1 / (2 v + C2) float32 [h, w] at each scale of MS-SSIM, with v the variance of luma in blocks of it."""
    whole = max(stride, BLOCK * 2 ** (len(WEIGHTS) - 1))
    padding = [(0, -side % whole) for side in pixels.shape[:2]]
    luma = (pixels[..., 0].astype(np.uint16) + pixels[..., 1] + pixels[..., 2]) / np.float32(3)
    x = np.pad(luma, padding, mode="edge")
    found = []
    for scale in range(len(WEIGHTS)):
        side, half = BLOCK * 2**scale, _halved(x)
        variance = np.maximum(_halved(_halved(np.square(x))) - np.square(_halved(half)), 0)
        sensitivity = 1 / (2 * variance + np.float32(C2))
        if side < stride:
            times = stride // side
            sensitivity = sensitivity.reshape(sensitivity.shape[0] // times, times, -1, times).mean((1, 3))
        elif side > stride:
            sensitivity = sensitivity.repeat(side // stride, 0).repeat(side // stride, 1)
        found.append(sensitivity[: grid[0], : grid[1]])
        x = half
    return found


def _halved(x: np.ndarray) -> np.ndarray:
    """Means of blocks of 2 x 2 values."""
    rows = x[0::2] + x[1::2]
    found: np.ndarray = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
    return found
