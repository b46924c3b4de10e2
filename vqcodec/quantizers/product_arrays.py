"""Product quantizer of a finished model as numpy arrays: indices and codewords without torch (product.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from ..config.quantizers import ProductVQConfig

TINY = 1e-12


@dataclass(frozen=True)
class ProductArrays:
    """Codebooks and rate term of a product quantizer.

    Legend: S planes, G groups, R residual planes, D latent channels, K codewords.
    """

    config: ProductVQConfig
    codebooks: Sequence[np.ndarray]
    """Codewords of each group, float32 [K, d_g]; of unit length if the model normalises them."""
    residual_codebooks: Sequence[np.ndarray]
    """Codewords of each residual plane, float32 [K, d_r]; empty without residual planes."""
    fill: np.ndarray
    """Replacement of the channels of missing groups, float32 [D]."""
    bit_costs: np.ndarray
    """Cost of each codeword, a squared distance, float32 [S, K]."""
    lambda_weights: np.ndarray
    """Weight of one bit in each plane at lmbda 1, a squared distance, float64 [S]."""
    lambda_caps: np.ndarray
    """Largest multiplier that applies to each plane, float64 [S]."""

    @property
    def groups(self) -> int:
        """Number of groups G."""
        return self.config.groups

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each group."""
        return self.config.widths

    @cached_property
    def spans(self) -> list[slice]:
        """Latent channels of each plane."""
        spans = _spans(self.widths)
        return spans + (_spans(self.config.refinements) if self.residual_codebooks else [])

    @property
    def has_rate_term(self) -> bool:
        """True if any codeword costs bits: the model was trained with a rate term."""
        return bool(self.bit_costs.any())

    @property
    def importance(self) -> np.ndarray:
        """Weight of a squared error in each channel, float32 [D], of mean 1, in the selection of residual planes."""
        weights = self.lambda_weights[: self.groups]
        if not weights.any():
            return np.ones(sum(self.widths), np.float32)
        shown = np.repeat(1 / weights, self.widths)
        return (shown / shown.mean()).astype(np.float32)

    def quantize(self, z: np.ndarray, lmbda: float = 1.0) -> list[np.ndarray]:
        """Latent [D, h, w] -> planes int32 [h, w] that minimise squared distance + lmbda * cost, each index by itself.

        Residual planes quantize what the groups leave over.
        """
        costs = self.bit_costs * np.minimum(lmbda, self.lambda_caps)[:, None].astype(np.float32)
        planes = [_nearest(z[span], *pair) for span, *pair in zip(self.spans, self.codebooks, costs, strict=False)]
        if not self.residual_codebooks:
            return planes
        scale = np.sqrt(self.importance)
        left = z - np.concatenate([book.T[:, plane] for book, plane in zip(self.codebooks, planes, strict=True)])
        for span, book, cost in zip(
            self.spans[self.groups :], self.residual_codebooks, costs[self.groups :], strict=True
        ):
            planes.append(_nearest(left[span] * scale[span, None, None], book * scale[span], cost))
        return planes

    def dequantize(self, planes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Planes int32 [h, w], MISSING where unknown -> codewords float32 [D, h, w] and keep map [G, h, w] of 0, 1."""
        grid = planes[0].shape
        z = np.empty((sum(self.widths), *grid), np.float32)
        kept = np.stack([plane >= 0 for plane in planes[: self.groups]])
        for plane, book, span in zip(planes, self.codebooks, self.spans, strict=False):
            np.take(book.T, np.maximum(plane, 0), axis=1, out=z[span])
        for r, book in enumerate(self.residual_codebooks):
            plane = planes[self.groups + r]
            z[self.spans[self.groups + r]] += np.take(book.T, np.maximum(plane, 0), axis=1) * (plane >= 0)
        if not kept.all():
            for g, span in enumerate(self.spans[: self.groups]):
                np.copyto(z[span], self.fill[span, None, None], where=~kept[g])
        return z, kept.astype(np.float32)


def arrays_from_tensors(config: ProductVQConfig, tensors: Mapping[str, np.ndarray]) -> ProductArrays:
    """Arrays of the quantizer whose tensors, named as in model.safetensors, are among `tensors`."""
    size = (len(config.sizes), config.codebook_size)
    weights = tensors.get("quantizer.prices", np.zeros(size[0]))
    caps = tensors.get("quantizer.caps", np.full(size[0], np.inf))
    fill = tensors.get("quantizer.fill", np.zeros((config.groups, max(config.widths))))
    codebooks = [
        book[:, :width] for book, width in zip(tensors["quantizer.bank.codebooks"], config.widths, strict=True)
    ]
    if config.normalised:
        codebooks = [book / np.maximum(np.linalg.norm(book, axis=1, keepdims=True), TINY) for book in codebooks]
    residual = tensors.get("quantizer.refinements.codebooks", ())
    return ProductArrays(
        config,
        [np.ascontiguousarray(book, np.float32) for book in codebooks],
        [np.ascontiguousarray(b[:, :width], np.float32) for b, width in zip(residual, config.refinements, strict=True)],
        np.concatenate([row[:width] for row, width in zip(fill, config.widths, strict=True)]).astype(np.float32),
        tensors.get("quantizer.costs", np.zeros(size)).astype(np.float32),
        weights.astype(np.float64),
        caps.astype(np.float64),
    )


def _nearest(z: np.ndarray, book: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Rows [d, h, w], codewords [K, d] and their costs [K] -> indices int32 [h, w]."""
    rows = np.ascontiguousarray(z.reshape(len(z), -1).T, dtype=np.float32)
    # |x - c|^2 less |x|^2, which is the same for all codewords.
    distances = rows @ (-2 * book.T)
    distances += np.square(book).sum(1) + costs
    return distances.argmin(1).astype(np.int32).reshape(z.shape[1:])


def _spans(widths: Sequence[int]) -> list[slice]:
    return [slice(a, b) for a, b in pairwise((0, *accumulate(widths)))]
