"""Capacity of a model and use of its codebooks: raw bits, share of codewords used, perplexity.

Raw bits need the configuration alone. Usage (FQGAN, MGVQ and XQ-GAN report it over the ImageNet validation set) and
perplexity are counted over pictures. The share of codewords used grows with the number of indices, so that a small
folder shows less of a large codebook than there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..config.model import TokenizerConfig
from ..config.quantizers import (
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
)
from ..geometry.token_layout import plane_shapes

SIDE_PX = 256
"""Side of the picture that raw bits are given for, where the model has no window of its own."""


@dataclass(frozen=True)
class Codebook:
    """One set of K codewords and the planes whose indices name them."""

    name: str
    size: int
    """K."""
    planes: tuple[int, ...]
    segment: int = 0
    segments: int = 1
    """Number of the run of tokens, of `segments` of equal length, that has this codebook (SoftVQ-VAE)."""


def codebooks_of(config: QuantizerConfig) -> list[Codebook]:
    """The codebooks of a quantizer in the order of its planes; implicit ones (binary, FSQ) count as codebooks.

    Stages that share codewords are one codebook. Of a mixture (soft-vq, gmm-vq) only the likeliest codeword is counted.
    """
    match config:
        case ProductVQConfig():
            names = [f"group {g}" for g in range(1, config.groups + 1)]
            names += [f"refinement {r}" for r in range(1, len(config.refinements) + 1)]
            return [Codebook(name, config.codebook_size, (s,)) for s, name in enumerate(names)]
        case ResidualConfig(shared=False):
            return [Codebook(f"stage {s + 1}", size, (s,)) for s, size in enumerate(config.sizes)]
        case ResidualConfig() | MultiScaleConfig():
            return [Codebook("all stages", config.sizes[0], tuple(range(len(config.sizes))))]
        case SplitConfig():
            return [
                Codebook(
                    f"part {p + 1}" + (f", {book.name}" if len(config.part.sizes) > len(book.planes) else ""),
                    book.size,
                    tuple(i for i, (part, s) in enumerate(config.order) if part == p and s in book.planes),
                )
                for p in range(config.parts)
                for book in codebooks_of(config.part)
            ]
        case SoftVQConfig():
            n = config.segments
            return [Codebook(f"segment {k + 1}", config.codebook_size, (0,), k, n) for k in range(n)]
        case _:
            return [Codebook("codebook", size, (s,)) for s, size in enumerate(config.sizes)]


@dataclass(frozen=True)
class Capacity:
    """Raw bits of the planes of a picture of `side` x `side` pixels."""

    side: int
    indices: int
    """Number of indices, of all planes."""
    bits_by_layer: tuple[float, ...]
    """Bits of the first 1, 2, ... layers: sum over their planes of positions * log2 K."""

    @property
    def bits(self) -> float:
        """Sum over the layers."""
        return self.bits_by_layer[-1]

    @property
    def bpp(self) -> float:
        """Raw bits per pixel."""
        return self.bits / self.side**2


def capacity(config: TokenizerConfig, layers: tuple[tuple[int, ...], ...]) -> Capacity:
    """Raw bits of one window of the model, or of SIDE_PX (the next multiple of the stride) where it has none."""
    side = config.side or -(-SIDE_PX // config.stride) * config.stride
    positions = [math.prod(shape) for shape in plane_shapes(config, side, side)]
    bits = [n * math.log2(size) for n, size in zip(positions, config.quantizer.sizes, strict=True)]
    each = [sum(bits[s] for s in layer) for layer in layers]
    return Capacity(side, sum(positions), tuple(float(total) for total in np.cumsum(each)))


@dataclass(frozen=True)
class Use:
    """Usage of a codebook."""

    codebook: Codebook
    indices: int
    """Number of indices that were counted."""
    used: int
    """Codewords chosen at least once, 0..K."""
    entropy: float
    """Entropy of the indices without context, bits, 0..log2 K."""

    @property
    def usage(self) -> float:
        """Share of the codewords, 0..1."""
        return self.used / self.codebook.size

    @property
    def perplexity(self) -> float:
        """2**entropy, 1..K: how many codewords of equal frequency have this entropy."""
        return 2.0**self.entropy


class UsageCounter:
    """Counts the indices of any number of pictures."""

    def __init__(self, config: TokenizerConfig) -> None:
        self.windowed = bool(config.side)
        self.books = codebooks_of(config.quantizer)
        self.counts = [np.zeros(book.size, np.int64) for book in self.books]
        self.planes = [np.zeros(size, np.int64) for size in config.quantizer.sizes]
        self.pixels = 0

    def add(self, planes: list[np.ndarray], n_pixels: int) -> None:
        """Planes of one picture of `n_pixels` pixels; entries below 0 are gaps and do not count."""
        self.pixels += n_pixels
        for s, plane in enumerate(planes):
            self.planes[s] += _counts(plane, len(self.planes[s]))
        for book, counts in zip(self.books, self.counts, strict=True):
            for s in book.planes:
                counts += _counts(self._segment(planes[s], book), book.size)

    def _segment(self, plane: np.ndarray, book: Codebook) -> np.ndarray:
        if book.segments == 1:
            return plane
        runs = plane.reshape(len(plane) if self.windowed else 1, book.segments, -1)
        return runs[:, book.segment]

    def uses(self) -> Iterator[Use]:
        """The use of each codebook so far."""
        for book, counts in zip(self.books, self.counts, strict=True):
            yield Use(book, int(counts.sum()), int((counts > 0).sum()), entropy_of_counts(counts))

    @property
    def entropy_bpp(self) -> float:
        """Bits per pixel of all planes, each coded by its own frequencies without context; 0 without pictures."""
        bits = sum(float(counts.sum()) * entropy_of_counts(counts) for counts in self.planes)
        return bits / max(self.pixels, 1)


def entropy_of_counts(counts: np.ndarray) -> float:
    """Counts [K] -> bits, 0..log2 K; 0 for no counts at all."""
    p = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0  # no -0.0


def _counts(plane: np.ndarray, size: int) -> np.ndarray:
    values = plane.ravel()
    return np.bincount(values[values >= 0], minlength=size)
