"""Tolerance: relative weight of bits by position, larger where texture hides errors.

Structural similarity (Wang et al. 2003) divides an error by the variance around it, so an error counts less in texture
than in a smooth area. The tolerance is the local variance of luma, plus FLOOR, to the power EXPONENT, with a geometric
mean of 1. On three validation pictures, with two passes of latent refinement, an exponent of 0.15 against 0 lowers
bytes at equal MS-SSIM by 2.7 % and raises those at equal PSNR by 2.9 %; 0.3 against 0.15 by another 2.5 and 4.6 %.
"""

from __future__ import annotations

import numpy as np

EXPONENT = 0.15
"""0: all positions alike; 1: errors relative to the local variance."""
FLOOR = 30.0
"""Variance in squared levels of 255 below which positions are alike, about the constant of structural similarity."""


def tolerance_of(pixels: np.ndarray, stride: int) -> np.ndarray:
    """Tolerance float32 [h, w] of the positions of the grid of a picture uint8 [H, W, 3]."""
    h, w = -(-pixels.shape[0] // stride), -(-pixels.shape[1] // stride)
    luma = pixels.mean(2, dtype=np.float32)
    luma = np.pad(luma, ((0, h * stride - luma.shape[0]), (0, w * stride - luma.shape[1])), mode="edge")
    variance = np.pad(luma.reshape(h, stride, w, stride).var((1, 3)), 1, mode="edge")
    around = sum(variance[dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)) / 9
    found = (around + FLOOR) ** EXPONENT
    relative: np.ndarray = (found / np.exp(np.log(found).mean())).astype(np.float32)
    return relative
