"""The measures of a decoded picture: PSNR, MS-SSIM, and the rate in bits per pixel.

Differs from train/losses/reconstruction.py: uint8 pixels of one picture in, one float out, nothing to differentiate.
MS-SSIM is Wang, Simoncelli and Bovik 2003, as pytorch_msssim computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""sRGB, uint8 [H, W, 3]."""

N_SCALES = 5
"""Scales of MS-SSIM; each halves the sides of the one before."""
LEAST_SIDE = 33
"""Pixels of the shorter side, below which no window of MS-SSIM fits."""


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, from the mean square error over all pixels and channels together.

    a, b uint8 [H, W, 3]. Equal pictures give inf. Raises ValueError if a shape or dtype is not that.
    """
    _check(a, b)
    # float32 is exact here (squares are at most 65025) and takes half the memory; the mean is not, hence float64.
    difference = a.astype(np.float32) - b
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Multi-scale structural similarity, 0..1 (1: equal), mean over R, G and B.

    a, b uint8 [H, W, 3]. The Gaussian window has 11 pixels and there are five scales, so both sides need more than
    160 pixels. Below that the window shrinks to the largest odd one that still fits the smallest scale; such values
    compare with each other at the same size only. With a side of 32 pixels or fewer no window is left: nan.
    Raises ValueError if a shape or dtype is not that.
    """
    _check(a, b)
    window = window_px(min(a.shape[:2]))
    if window is None:
        return math.nan
    import pytorch_msssim
    import torch

    values = []
    with torch.no_grad():
        for channel in range(3):  # one at a time: the same mean with a third of the memory
            x, y = (torch.from_numpy(p[None, None, :, :, channel].astype(np.float32)) for p in (a, b))
            values.append(pytorch_msssim.ms_ssim(x, y, data_range=255, win_size=window).item())
    return float(math.fsum(values) / 3)


def window_px(side: int) -> int | None:
    """The MS-SSIM window for a smaller side of `side` pixels: odd, 3..11, or None if not even 3 fits."""
    # pytorch_msssim asks for side > (window - 1) * 2**(scales - 1).
    window = min(11, (side - 1) // 2 ** (N_SCALES - 1) + 1)
    window -= 1 - window % 2
    return window if window >= 3 else None


def bpp(n_bytes: int, width: int, height: int) -> float:
    """Rate in bits per pixel of a whole file of `n_bytes`; width, height >= 1 in pixels, else ValueError."""
    if width < 1 or height < 1:
        raise ValueError(f"width x height is {width}x{height}; both must be at least 1 pixel")
    return 8 * n_bytes / (width * height)


def _check(a: Pixels, b: Pixels) -> None:
    for name, pixels in (("a", a), ("b", b)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ValueError(f"{name} is {pixels.dtype} {list(pixels.shape)}; it must be uint8 [H, W, 3]")
    if a.shape != b.shape:
        raise ValueError(f"a is {list(a.shape)} and b {list(b.shape)}; they must have the same shape")


@dataclass(frozen=True)
class Metric:
    """One measure of a decoded picture, higher is better."""

    name: str
    """As `--metrics` takes it."""
    title: str
    """As a table heads it, with the unit."""
    digits: int
    """Decimals worth printing."""
    measure: Callable[[Pixels, Pixels], float]
    """(original, decoded) -> value."""

    @property
    def column(self) -> str:
        """The name as reports spell it, fit for an identifier."""
        return self.name.replace("-", "_")


METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (Metric("psnr", "PSNR dB", 2, psnr), Metric("ms-ssim", "MS-SSIM", 4, ms_ssim))
}


def visible(metric: str, a: Pixels, b: Pixels, alpha: NDArray[np.uint8] | None) -> float:
    """A measure of METRICS over what can be seen: each error counts by its alpha, as it does in a composite.

    a original, b decoded uint8 [H, W, 3]; alpha uint8 [H, W], None for opaque. PSNR is over the visible part alone; a
    picture without any gives inf.
    """
    if alpha is None or alpha.min() == 255:
        return METRICS[metric].measure(a, b)
    _check(a, b)
    share = alpha[..., None] / np.float32(255)
    error = (b - a.astype(np.float32)) * share
    if metric == "psnr":
        total, weight = (float(np.square(part, dtype=np.float64).sum()) for part in (error, share))
        return math.inf if total == 0 else 10 * math.log10(255**2 * 3 * weight / total)
    return METRICS[metric].measure(a, np.rint(a + error).clip(0, 255).astype(np.uint8))
