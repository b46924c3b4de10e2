"""Large alphabets as two symbols: the high part of a code's rank, then the low part.

A context model codes the two as planes of their own, the second of which sees the first. Ranks put codes that are
alike side by side, so that the high part says something.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import FormatError
from ..planes import MISSING

WHOLE = 2**10
"""Largest alphabet that is coded as one symbol by models made here."""


@dataclass(frozen=True)
class Split:
    """How the codes 0..K-1 of a plane are coded."""

    rank: np.ndarray
    """int64 [K], a permutation."""
    low: int
    """Values of the low part; 0 if a code is coded whole."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Alphabets of what is coded."""
        k = len(self.rank)
        return (-(-k // self.low), self.low) if self.low else (k,)

    @cached_property
    def codes(self) -> np.ndarray:
        """int64 [K], the code of each rank."""
        return np.argsort(self.rank)

    def parts(self, plane: np.ndarray) -> list[np.ndarray]:
        """Codes int32, MISSING where unknown -> the planes that are coded."""
        if not self.low:
            return [plane]
        rank = self.rank[np.maximum(plane, 0)]
        parts = (rank // self.low, rank % self.low)
        return [np.where(plane < 0, MISSING, part).astype(np.int32) for part in parts]

    def whole(self, high: np.ndarray, low: np.ndarray) -> np.ndarray:
        """Undo `parts`; MISSING where one of them is. Raises FormatError for what is no code."""
        rank = high.astype(np.int64) * self.low + low
        known = (high >= 0) & (low >= 0)
        if (rank[known] >= len(self.rank)).any():
            raise FormatError("entropy-coded data: a code beyond its alphabet; the file is damaged")
        return np.where(known, self.codes[np.where(known, rank, 0)], MISSING).astype(np.int32)


def unsplit(size: int) -> Split:
    """Codes coded whole."""
    return Split(np.arange(size), 0)


def by_likeness(size: int, codewords: np.ndarray | None = None) -> Split:
    """A split in two parts of about equal size where `size` is above WHOLE; `codewords` [K, d] say what is alike."""
    if size <= WHOLE:
        return unsplit(size)
    low = 1 << ((size - 1).bit_length() + 1) // 2
    rank = np.empty(size, np.int64)
    order = np.arange(size) if codewords is None else _along_axes(np.asarray(codewords, np.float64), np.arange(size))
    rank[order] = np.arange(size)
    return Split(rank, low)


def _along_axes(codewords: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`codes` so that those alike stand together: halved at the median of their widest direction, again and again."""
    if len(codes) <= 2:
        return codes
    centred = codewords[codes] - codewords[codes].mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    # The sign of an axis is anybody's choice.
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    codes = codes[np.argsort(centred @ axis, kind="stable")]
    half = 1 << (len(codes) - 1).bit_length() - 1
    return np.concatenate([_along_axes(codewords, codes[:half]), _along_axes(codewords, codes[half:])])
