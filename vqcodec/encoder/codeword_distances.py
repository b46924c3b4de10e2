"""Squared distances of a latent from the codewords of a product quantizer, plane by plane.

Planes of groups come first, then residual planes, which quantize what the groups before them leave over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..quantizers.product_arrays import ProductArrays


class RefinedPlane(NamedTuple):
    """Earlier plane that a residual plane refines, and the channels that they have in common."""

    plane: int
    """Number of the earlier plane."""
    own_channels: slice
    """The common channels, counted from the first channel of the plane itself."""
    channels: slice
    """The same channels, counted from the first channel of the earlier plane."""


class CodewordDistances:
    """Codebooks of `product`, with the weights of bits in units of their distances.

    Legend: S planes, G groups, D latent channels, K codewords, d channels of a plane.
    """

    def __init__(self, product: ProductArrays) -> None:
        self.spans = product.spans
        """Latent channels of each plane."""
        self.codebooks = [*product.codebooks, *product.residual_codebooks]
        """[K, d] of each plane."""
        scale = np.sqrt(product.importance)
        scales = [np.ones(width, np.float32) for width in product.widths]
        scales += [scale[span] for span in self.spans[product.groups :]]
        self.scales = scales
        """float32 [d] of each plane: weights of the channels' differences."""
        self.scaled = [book * scale for book, scale in zip(self.codebooks, scales, strict=True)]
        self.products = [
            np.concatenate([-2 * book.T, np.square(book).sum(1)[None], np.ones((1, len(book)), np.float32)])
            for book in self.scaled
        ]
        """float32 [d + 2, K] of each plane: |x - c|^2 = (x, 1, |x|^2) @ (-2 c, |c|^2, 1)."""
        self.refined_planes = [
            [RefinedPlane(t, *_overlap(span, self.spans[t])) for t in range(s) if _overlaps(span, self.spans[t])]
            for s, span in enumerate(self.spans)
        ]
        """For each plane: the earlier planes whose quantization error it refines."""
        self._weights, self._caps = product.lambda_weights, product.lambda_caps

    @property
    def has_weights(self) -> bool:
        """True where the model holds the weight of a bit."""
        return bool(self._weights.any())

    def capped(self, lmbda: float | np.ndarray) -> np.ndarray:
        """Multipliers, a number or [B, 1] -> those of each plane, [S] or [B, S]: no larger than the plane's cap."""
        return np.minimum(lmbda, self._caps)

    def distance_per_bit(self, lmbda: float | np.ndarray) -> np.ndarray:
        """Squared distance that balances one bit in each plane, [S] or [B, S] as in `capped`: weight * multiplier."""
        return self._weights * self.capped(lmbda)

    def of_plane(
        self, s: int, latent: np.ndarray, selected: Sequence[np.ndarray]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Function: flat positions int64 [n] -> squared distances float32 [n, K] from the codewords of plane s.

        Args:
            s: number of the plane.
            latent: [D, h, w] that the planes approximate.
            selected: indices [h * w] of the planes before it.
        """
        part, products = latent[self.spans[s]], self.products[s]
        rows = np.ones((math.prod(part.shape[1:]), len(part) + 2), np.float32)  # (x, 1, |x|^2) of each position
        x = rows[:, :-2]
        x[:] = part.reshape(len(part), -1).T
        for earlier in self.refined_planes[s]:
            x[:, earlier.own_channels] -= self.codebooks[earlier.plane][selected[earlier.plane], earlier.channels]
        x *= self.scales[s]
        rows[:, -1] = np.square(x).sum(1)

        def distances(positions: np.ndarray) -> np.ndarray:
            found: np.ndarray = rows[positions] @ products
            return found

        return distances


def _overlaps(a: slice, b: slice) -> bool:
    return bool(max(a.start, b.start) < min(a.stop, b.stop))


def _overlap(a: slice, b: slice) -> tuple[slice, slice]:
    """The channels in common, counted from the start of each."""
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    return slice(start - a.start, stop - a.start), slice(start - b.start, stop - b.start)
