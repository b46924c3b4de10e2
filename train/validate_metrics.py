"""PSNR and SSIM for validation, and the metrics that can select the best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_msssim
import torch
from torch import Tensor

from vqcodec.tokenizer import HALF_RANGE, to_levels

SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM, pixels (Wang et al. 2004)."""


@dataclass(frozen=True)
class ValMetric:
    """Value of a row of validation by which checkpoints are compared."""

    key: str
    reduce: Callable[[list[float]], float]
    """Reduction of a value per number of layers, or per codebook, to one number."""
    sign: int = 1
    """-1 if less is better."""


def last(values: list[float]) -> float:
    """The value with all layers."""
    return values[-1]


def mean(values: list[float]) -> float:
    """The mean over codebooks."""
    return math.fsum(values) / len(values)


BEST_BY: dict[str, ValMetric] = {
    "psnr": ValMetric("val/psnr", last),
    "ssim": ValMetric("val/ssim", last),
    "lpips": ValMetric("val/lpips", last, -1),
    "usage": ValMetric("val/used", mean),
    "perplexity": ValMetric("val/crop-perplexity", mean),
}
"""Metrics by the names that `run.best` accepts."""


def score(name: str, row: dict[str, Any]) -> float:
    """Metric `name` of a row of validation, the higher the better; -inf where it is missing or nan."""
    metric = BEST_BY[name]
    values = row.get(metric.key)
    if values is None:
        return -math.inf
    value = metric.sign * metric.reduce(values if isinstance(values, list) else [values])
    return -math.inf if math.isnan(value) else value


@torch.no_grad()
def ssim(y: Tensor, x: Tensor) -> float:
    """SSIM 0..1 of y and x [B, 3, H, W] in -1..1 as 8-bit levels, mean over R, G, B and samples.

    The window of 11 px shrinks to the largest odd one that fits a smaller picture.
    """
    pixels = [to_levels(p) for p in (y, x)]
    side = min(SSIM_WINDOW, *y.shape[-2:])
    return float(pytorch_msssim.ssim(*pixels, data_range=255, win_size=side - 1 + side % 2))


@torch.no_grad()
def psnr(y: Tensor, x: Tensor) -> Tensor:
    """Per-sample PSNR in dB [B] of pictures in -1..1, after clamping and rounding to 8 bits."""
    mse = (to_levels(y) - (x + 1) * HALF_RANGE).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / mse.clamp_min(1e-4))
