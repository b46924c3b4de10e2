"""Distortion of a decoded picture that encoders minimise: squared error mixed with 1 - MS-SSIM.

    distortion = (1 - a) * SE + a * SE0 * (1 - MS-SSIM) / (1 - MS-SSIM)0

SE is the sum of squared errors of pixels in -1..1, a is SIMILARITY, and the values with 0 are those of a reference:
the decoded picture itself for gradients (as constants), the file with all layers for comparisons. So a relative change
of the dissimilarity counts a times as much as the same relative change of the squared error. MS-SSIM is Wang,
Simoncelli and Bovik 2003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.rectangles import Rect
from ..image.grey import average_channels
from ..image.picture import Picture
from ..inference.fixed_windows import to_tensor
from ..inference.networks import planes_to_pixels
from ..models.loading import Model

SIMILARITY = 0.2
"""Share of the dissimilarity in the distortion, 0..1."""
COARSE_WEIGHTS = (0.2999, 0.3151, 0.2481, 0.1400)
"""Weights of the second to the fifth scale of MS-SSIM, as shares of their sum. The first has a weight of 0.04 and takes
three quarters of the time."""
LEAST_DISSIMILARITY = 1e-3
"""Lower bound of 1 - MS-SSIM as a divisor: in flat pictures its float32 rounding error is up to 1e-4."""
LEAST_PX = 160
"""MS-SSIM needs more pixels than this on each side."""


@dataclass(frozen=True)
class Distortion:
    """Errors of an area of a decoded picture."""

    squared_error: float
    """Sum over pixels in -1..1."""
    dissimilarity: float | None
    """1 - MS-SSIM over its coarse scales; None where the area is too small."""

    def relative_to(self, reference: Distortion) -> float:
        """distortion = (1 - a) * SE + a * SE0 * (1 - MS-SSIM) / (1 - MS-SSIM)0, with SE0 and (...)0 of `reference`.

        The squared error alone where the area is too small for MS-SSIM.
        """
        if reference.dissimilarity is None or self.dissimilarity is None:
            return self.squared_error
        share = max(self.dissimilarity, LEAST_DISSIMILARITY) / max(reference.dissimilarity, LEAST_DISSIMILARITY)
        return (1 - SIMILARITY) * self.squared_error + SIMILARITY * reference.squared_error * share


@torch.inference_mode()
def distortions(
    model: Model, picture: Picture, planes: Sequence[np.ndarray], areas: Sequence[Rect]
) -> list[Distortion]:
    """Distortion of decoded `planes` in each of `areas`, in pixels, which may reach beyond the picture.

    Args:
        model: decodes the planes.
        picture: the original; its alpha weights errors.
        planes: int32 [h, w] of the whole picture.
        areas: rectangles of pixels.
    """
    decoded = planes_to_pixels(model, list(planes), Rect(0, picture.height, 0, picture.width))
    if picture.grey:
        average_channels(decoded)
    alpha, found = picture.alpha, []
    for area in areas:
        y, x = (to_tensor([np.ascontiguousarray(p[area.slices])], model.device) for p in (decoded, picture.pixels))
        y = composite(y, x, None if alpha is None else alpha[area.slices])
        dissimilar = dissimilarity(y, x)
        found.append(Distortion(float((y - x).square().sum()), None if dissimilar is None else float(dissimilar)))
    return found


def differentiable_distortion(y: Tensor, x: Tensor) -> Tensor:
    """Decoded y and original x [1, 3, H, W] -> the distortion of y with y as its own reference."""
    squared_error, dissimilar = (y - x).square().sum(), dissimilarity(y, x)
    if dissimilar is None:
        return squared_error
    reference = dissimilar.detach().clamp_min(LEAST_DISSIMILARITY)
    return (1 - SIMILARITY) * squared_error + SIMILARITY * squared_error.detach() * dissimilar / reference


def dissimilarity(y: Tensor, x: Tensor) -> Tensor | None:
    """1 - MS-SSIM of pictures [1, 3, H, W] in -1..1; None where a side has LEAST_PX pixels or fewer."""
    if min(x.shape[-2:]) <= LEAST_PX:
        return None
    from pytorch_msssim import ms_ssim

    decoded, original = (y.clamp(-1, 1) + 1) / 2, (x + 1) / 2
    if y.is_cuda:  # convolutions of single channels are many times slower there on channels-last tensors
        decoded, original = decoded.contiguous(), original.contiguous()
    weights = None
    if min(x.shape[-2:]) > 2 * LEAST_PX:
        odd = [side % 2 for side in x.shape[-2:]]
        decoded, original = (F.avg_pool2d(part, 2, padding=odd) for part in (decoded, original))
        weights = COARSE_WEIGHTS
    dissimilar: Tensor = 1 - ms_ssim(decoded, original, data_range=1.0, weights=weights)
    return dissimilar


def composite(y: Tensor, x: Tensor, alpha: np.ndarray | None) -> Tensor:
    """Decoded y with its errors times alpha, as over a common background; alpha uint8 [H, W], None for opaque."""
    if alpha is None or alpha.min() == 255:
        return y
    share = torch.from_numpy(alpha.astype(np.float32) / 255).to(x.device)
    return x + (y - x) * share
