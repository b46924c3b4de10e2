"""Capacity of a model and use of its codebooks: raw bits, share of codewords used, perplexity.

Raw bits need the configuration alone. Usage (FQGAN, MGVQ and XQ-GAN report it over the ImageNet validation set) and
perplexity are counted over pictures. Usage grows with the number of indices: few pictures underestimate the use of a
large codebook.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from ..config.model import TokenizerConfig
from ..config.quantizers import (
    BinaryConfig,
    FSQConfig,
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
    UniformConfig,
    VQConfig,
)
from ..geometry.token_layout import plane_shapes

SIDE_PX = 256
"""Side in pixels of the picture that raw bits refer to, for models without fixed windows."""


@dataclass(frozen=True)
class Codebook:
    """One set of K codewords, and the planes whose indices refer to it."""

    name: str
    size: int
    """K."""
    planes: tuple[int, ...]
    segment: int = 0
    segments: int = 1
    """SoftVQ-VAE: the codebook belongs to run `segment` of the tokens, which are `segments` runs of equal length."""


def codebooks_of(config: QuantizerConfig) -> list[Codebook]:
    """Codebooks of a quantizer in the order of its planes, implicit ones (binary, FSQ) included.

    Stages that share codewords have one codebook. For mixtures (soft-vq, gmm-vq) only the most likely codeword counts.
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
        case VQConfig() | BinaryConfig() | FSQConfig() | UniformConfig():
            return [Codebook("codebook", size, (s,)) for s, size in enumerate(config.sizes)]
        case _:
            assert_never(config)


@dataclass(frozen=True)
class Capacity:
    """Raw bits of the planes of a picture of `side` x `side` pixels."""

    side: int
    indices: int
    """Number of indices in all planes."""
    bits_by_layer: tuple[float, ...]
    """Bits of the first 1, 2, ... layers: positions * log2 K, summed over their planes."""

    @property
    def bits(self) -> float:
        """Raw bits of all layers."""
        return self.bits_by_layer[-1]

    @property
    def bpp(self) -> float:
        """Raw bits per pixel."""
        return self.bits / self.side**2


def capacity(config: TokenizerConfig, layers: tuple[tuple[int, ...], ...]) -> Capacity:
    """Raw bits of one window of the model; without fixed windows of SIDE_PX, rounded up to a multiple of the stride."""
    side = config.window_px or -(-SIDE_PX // config.stride) * config.stride
    positions = [math.prod(shape) for shape in plane_shapes(config, side, side)]
    bits = [n * math.log2(size) for n, size in zip(positions, config.quantizer.sizes, strict=True)]
    each = [sum(bits[s] for s in layer) for layer in layers]
    return Capacity(side, sum(positions), tuple(float(total) for total in np.cumsum(each)))


@dataclass(frozen=True)
class Usage:
    """Usage of a codebook."""

    codebook: Codebook
    indices: int
    """Indices counted."""
    used: int
    """Codewords that occur at least once, 0..K."""
    entropy: float
    """Zero-order entropy of the indices, 0..log2 K bits."""

    @property
    def usage(self) -> float:
        """Share of the codewords that occur, 0..1."""
        return self.used / self.codebook.size

    @property
    def perplexity(self) -> float:
        """2**entropy, 1..K: the number of equally frequent codewords of this entropy."""
        return 2.0**self.entropy


class UsageCounter:
    """Counts of the indices of any number of pictures."""

    def __init__(self, config: TokenizerConfig) -> None:
        self.windowed = bool(config.window_px)
        self.books = codebooks_of(config.quantizer)
        self.counts = [np.zeros(book.size, np.int64) for book in self.books]
        self.planes = [np.zeros(size, np.int64) for size in config.quantizer.sizes]
        self.pictures = self.pixels = 0

    def add(self, planes: list[np.ndarray], n_pixels: int) -> None:
        """Count the planes of one picture of `n_pixels` pixels; entries below 0 are gaps and do not count."""
        self.pictures += 1
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

    def usages(self) -> Iterator[Usage]:
        """Usage of each codebook so far."""
        for book, counts in zip(self.books, self.counts, strict=True):
            yield Usage(book, int(counts.sum()), int((counts > 0).sum()), entropy_of_counts(counts))

    @property
    def entropy_bpp(self) -> float:
        """Zero-order entropy of all planes, in bits per pixel; 0 without pictures."""
        bits = sum(float(counts.sum()) * entropy_of_counts(counts) for counts in self.planes)
        return bits / max(self.pixels, 1)


def entropy_of_counts(counts: np.ndarray) -> float:
    """Entropy in bits, 0..log2 K, of counts [K]; 0 if all are 0."""
    p = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0  # no -0.0


def _counts(plane: np.ndarray, size: int) -> np.ndarray:
    values = plane.ravel()
    return np.bincount(values[values >= 0], minlength=size)
