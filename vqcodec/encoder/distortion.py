"""Distortion of a decoded picture that encoders minimise: squared error mixed with 1 - MS-SSIM.

    distortion = (1 - a) * SE + a * SE0 * (1 - MS-SSIM) / (1 - MS-SSIM)0

SE is the sum of squared errors of pixels in -1..1, a is SIMILARITY, and the values with 0 are those of a reference:
the decoded picture itself for gradients (as constants), the file with all layers for comparisons. So a relative change
of the dissimilarity counts a times as much as the same relative change of the squared error. MS-SSIM is Wang,
Simoncelli and Bovik 2003.

Errors are weighted by alpha, as over a common background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from ..geometry.rectangles import Rect

SIMILARITY = 0.4
"""Share of the dissimilarity in the distortion, 0..1."""
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales of MS-SSIM, finest first."""
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


class Area(NamedTuple):
    """Part of a window whose errors count."""

    place: Rect
    """Rectangle in the window's output, pixels."""
    original: np.ndarray
    """The same part of the picture, uint8 [H, W, 3]."""
    alpha: np.ndarray | None
    """uint8 [H, W]; None for opaque."""
    grey: bool
    """True if the picture is grey: the mean of the decoded channels is what the decoder shows."""


class Measures(Protocol):
    """Distortion and its gradient, in the library that runs a model's networks."""

    def distortion(self, decoded: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> Distortion:
        """Distortion of pixels `decoded`, uint8 [H, W, 3]; `alpha` uint8 [H, W], None for opaque."""

    def gradient(self, z: np.ndarray, kept: np.ndarray, area: Area) -> np.ndarray:
        """Gradient float32 [D, h, w] of the distortion of `area` in the decoder's input.

        The input is a window's `z` float32 [D, h, w] and its keep map [G, h, w]; the decoded area is its own reference.
        """

    def prepare_gradient(self, grid: tuple[int, int], area: Area) -> None:
        """Make `gradient` ready for inputs of the shape `grid`, where that takes time."""


def scale_weights(height: int, width: int) -> tuple[float, ...] | None:
    """Weights of the scales that count in an area: COARSE_WEIGHTS from its half size on, WEIGHTS for small areas.

    None where a side has LEAST_PX pixels or fewer.
    """
    if min(height, width) <= LEAST_PX:
        return None
    return COARSE_WEIGHTS if min(height, width) > 2 * LEAST_PX else WEIGHTS


def transparent(alpha: np.ndarray | None) -> bool:
    """True where some pixel is not opaque."""
    return alpha is not None and bool(alpha.min() < 255)
