"""Large alphabets as two symbols: the high part of an index's rank, then its low part.

A context model codes the two as planes of their own; the second sees the first. Ranks place similar codewords next to
each other, so that the high part of neighbours is predictable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import FormatError
from ..planes import MISSING

WHOLE = 2**10
"""Largest alphabet that new models code as one symbol."""


@dataclass(frozen=True)
class AlphabetSplit:
    """Symbols of the indices 0..K-1 of a plane: rank // low and rank % low, or the index itself."""

    rank: np.ndarray
    """int64 [K], a permutation of 0..K-1."""
    low: int
    """Values of the low part; 0 where an index is coded whole."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Alphabet size of each symbol."""
        k = len(self.rank)
        return (-(-k // self.low), self.low) if self.low else (k,)

    @cached_property
    def by_rank(self) -> np.ndarray:
        """Index of each rank, int64 [K]."""
        return np.argsort(self.rank)

    def divide(self, plane: np.ndarray) -> list[np.ndarray]:
        """Indices int32, MISSING where unknown -> one symbol plane of the same shape for each of `sizes`."""
        if not self.low:
            return [plane]
        rank = self.rank[np.maximum(plane, 0)]
        parts = (rank // self.low, rank % self.low)
        return [np.where(plane < 0, MISSING, part).astype(np.int32) for part in parts]

    def join(self, high: np.ndarray, low: np.ndarray) -> np.ndarray:
        """The inverse of `divide`; MISSING where a part is. Raises FormatError for ranks beyond the alphabet."""
        rank = high.astype(np.int64) * self.low + low
        known = (high >= 0) & (low >= 0)
        if (rank[known] >= len(self.rank)).any():
            raise FormatError("entropy-coded data: an index beyond its alphabet; the file is damaged")
        return np.where(known, self.by_rank[np.where(known, rank, 0)], MISSING).astype(np.int32)


def whole_alphabet(size: int) -> AlphabetSplit:
    """Indices 0..size-1 coded whole."""
    return AlphabetSplit(np.arange(size), 0)


def split_by_similarity(size: int, codewords: np.ndarray | None = None) -> AlphabetSplit:
    """A split in two parts of about equal size where `size` is above WHOLE.

    Ranks order `codewords` [K, d] by similarity, default by index.
    """
    if size <= WHOLE:
        return whole_alphabet(size)
    low = 1 << ((size - 1).bit_length() + 1) // 2
    rank = np.empty(size, np.int64)
    order = np.arange(size) if codewords is None else _bisected(np.asarray(codewords, np.float64), np.arange(size))
    rank[order] = np.arange(size)
    return AlphabetSplit(rank, low)


def _bisected(codewords: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """`indices` ordered by recursive bisection at the median of the principal axis of their codewords."""
    if len(indices) <= 2:
        return indices
    centred = codewords[indices] - codewords[indices].mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    # The sign of an eigenvector is arbitrary; this one makes the order reproducible.
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    indices = indices[np.argsort(centred @ axis, kind="stable")]
    half = 1 << (len(indices) - 1).bit_length() - 1
    return np.concatenate([_bisected(codewords, indices[:half]), _bisected(codewords, indices[half:])])
