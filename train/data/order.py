"""Order of the pictures that crops are cut from: epochs over all pictures, or per source by its share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from vqcodec.errors import InputError

from .pictures import Member


class Order:
    """Map of positions 0, 1, ... to indices into `members`, a pure function of (seed, position) and the pictures.

    Without `shares` the pictures follow in epochs, each in a random order. An epoch holds a picture of n pixels
    max(1, round((n / median)^size_weight)) times.

    With `shares`, one weight for each source, every stretch of `length` positions holds the sources in these shares,
    to within one crop; each source has epochs of its own. Raises InputError for a source that has a share and no usable
    picture.
    """

    def __init__(self, members: Sequence[Member], size_weight: float, seed: int, shares: Sequence[float] = ()) -> None:
        self.seed = seed
        numbers = np.array([member.source for member in members])
        weights = np.array([(m.width * m.height) ** size_weight for m in members])
        wanted: list[int | None] = [s for s, share in enumerate(shares) if share > 0] if shares else [None]
        self.epochs: list[np.ndarray] = []
        for source in wanted:
            chosen = np.arange(len(members)) if source is None else np.flatnonzero(numbers == source)
            if not len(chosen):
                raise InputError(f"data.shares: source {source} of data.train (from 0) has no usable picture")
            part = weights[chosen]
            self.epochs.append(np.repeat(chosen, np.rint(part / np.median(part)).clip(1).astype(int)))
        self.length = sum(map(len, self.epochs))
        self.counts = _rounded([shares[s] if s is not None else 1.0 for s in wanted], self.length)
        self._mixed = lru_cache(maxsize=2)(self._mixture)
        self._order = lru_cache(maxsize=2 * len(wanted))(self._shuffled)

    def at(self, position: int) -> int:
        """Index of the picture at `position`, at least 0."""
        stretch, place = divmod(position, self.length)
        if len(self.epochs) == 1:
            return int(self._order(0, stretch)[place])
        sources, nth = self._mixed(stretch)
        source = int(sources[place])
        epoch, within = divmod(stretch * self.counts[source] + int(nth[place]), len(self.epochs[source]))
        return int(self._order(source, epoch)[within])

    def _mixture(self, stretch: int) -> tuple[np.ndarray, np.ndarray]:
        """Source of each place of a stretch, and the number of the place among those of its source."""
        sources = np.random.default_rng((self.seed, stretch, 1)).permutation(
            np.repeat(np.arange(len(self.counts)), self.counts)
        )
        nth = np.empty(len(sources), np.int64)
        for source, count in enumerate(self.counts):
            nth[sources == source] = np.arange(count)
        return sources, nth

    def _shuffled(self, source: int, epoch: int) -> np.ndarray:
        seeds = (self.seed, epoch) if len(self.epochs) == 1 else (self.seed, epoch, 2, source)
        return np.random.default_rng(seeds).permutation(self.epochs[source])


def _rounded(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to `shares`, `total` in all, at least 1 each: by largest remainders."""
    exact = np.array(shares, np.float64) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    for s in np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]:
        counts[s] += 1
    while (counts < 1).any():
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return [int(count) for count in counts]
