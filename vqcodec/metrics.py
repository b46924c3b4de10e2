"""Quality metrics of a decoded picture, PSNR, SSIM and MS-SSIM, and the rate in bits per pixel.

Inputs are uint8 pixels of one picture. SSIM: Wang et al. 2004. MS-SSIM: Wang, Simoncelli and Bovik 2003. Both are
computed by pytorch_msssim. Metrics that need further packages or weights: `vqcodec.evaluation.quality`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .runtime.backend import check_torch

Pixels = NDArray[np.uint8]
"""sRGB, uint8 [H, W, 3]."""

N_SCALES = 5
"""Scales of MS-SSIM; each halves the sides of the previous one."""
SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM, px."""
LEAST_SIDE = 33
"""Smallest shorter side that MS-SSIM is defined for, px."""


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, from the mean squared error over all pixels and channels.

    Args: a, b uint8 [H, W, 3]. Returns inf for equal pictures. Raises ValueError for other shapes or types.
    """
    _check(a, b)
    # Squares (at most 65025) are exact in float32, which takes half the memory; their mean needs float64.
    difference = a.astype(np.float32) - b
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Multi-scale structural similarity 0..1 (1: equal), mean over R, G and B.

    The Gaussian window of 11 px and five scales need sides of more than 160 px. For a smaller picture the window is the
    largest odd one that fits the smallest scale; such values are comparable at equal size only. With a side of 32 px or
    less no window fits, and the result is nan.

    Args: a, b uint8 [H, W, 3]. Raises ValueError for other shapes or types.
    """
    _check(a, b)
    window = window_px(min(a.shape[:2]))
    if window is None:
        return math.nan
    check_torch("MS-SSIM")
    import pytorch_msssim
    import torch

    values = []
    with torch.no_grad():
        for channel in range(3):  # one channel at a time takes a third of the memory
            x, y = (torch.from_numpy(p[None, None, :, :, channel].astype(np.float32)) for p in (a, b))
            values.append(pytorch_msssim.ms_ssim(x, y, data_range=255, win_size=window).item())
    return float(math.fsum(values) / 3)


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity -1..1 (1: equal), Gaussian window of 11 px (sigma 1.5), mean over R, G and B.

    The window of a picture with a smaller side is the largest odd one that fits.

    Args: a, b uint8 [H, W, 3]. Raises ValueError for other shapes or types.
    """
    _check(a, b)
    check_torch("SSIM")
    import pytorch_msssim
    import torch

    side = min(SSIM_WINDOW, *a.shape[:2])
    values = []
    with torch.no_grad():
        for channel in range(3):
            x, y = (torch.from_numpy(p[None, None, :, :, channel].astype(np.float32)) for p in (a, b))
            values.append(pytorch_msssim.ssim(x, y, data_range=255, win_size=side - 1 + side % 2).item())
    return float(math.fsum(values) / 3)


def window_px(side: int) -> int | None:
    """Window of MS-SSIM for a shorter side of `side` px: odd, 3..11; None if 3 does not fit."""
    # pytorch_msssim requires side > (window - 1) * 2**(scales - 1).
    window = min(11, (side - 1) // 2 ** (N_SCALES - 1) + 1)
    window -= 1 - window % 2
    return window if window >= 3 else None


def bpp(n_bytes: int, width: int, height: int) -> float:
    """Rate of a whole file of `n_bytes` in bits per pixel. Raises ValueError unless width, height >= 1 px."""
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
    """One quality metric."""

    name: str
    """Name in `--metrics`."""
    title: str
    """Column title in tables, with the unit."""
    digits: int
    """Decimals printed."""
    measure: Callable[[Pixels, Pixels], float]
    """(original, decoded) -> value."""
    lower_is_better: bool = False
    bd_rate: bool = True
    """False: too rough a function of the rate for a BD-rate."""

    def goodness(self, score: float) -> float:
        """The score with the sign that makes more better."""
        return -score if self.lower_is_better else score

    @property
    def column(self) -> str:
        """The name as an identifier, for columns of reports."""
        return self.name.replace("-", "_")


METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (Metric("psnr", "PSNR dB", 2, psnr), Metric("ms-ssim", "MS-SSIM", 4, ms_ssim))
}


def visible(metric: str, a: Pixels, b: Pixels, alpha: NDArray[np.uint8] | None) -> float:
    """A metric of METRICS with errors weighted by alpha, as in a composite.

    Args:
        metric: a key of METRICS.
        a: original picture, uint8 [H, W, 3].
        b: decoded picture, uint8 [H, W, 3].
        alpha: uint8 [H, W]; None: opaque.

    The squared error of PSNR is a mean weighted by squared alpha; a fully transparent picture gives inf.
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
