"""Rate control: the file of a picture for a budget of bytes or a least quality, by a search over the ladder.

An encoder makes the file for one rate; larger rates make smaller files, near enough.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from ..config.model import LadderStep

CLOSE = 0.975
"""A file that uses this share of a budget is large enough."""
NEAR = 1.002
"""Rates of less than this ratio make the same files."""
SEARCH = 6
"""Most files that are made between two steps of the ladder to come close to a budget or a quality."""


class RateControl(ABC):
    """Search over the ladder of one picture's encoder; subclasses make the files."""

    ladder: Sequence[LadderStep]
    """Steps of the model, smallest files first."""
    by_rate: bool
    """True where the rate changes the file."""

    @abstractmethod
    def file(self, rate: float, keep: int | None = None) -> bytes:
        """The complete file at `rate`, of the first `keep` layers if given."""

    @property
    @abstractmethod
    def rough(self) -> RateControl:
        """A faster encoder whose files are about as large; its choice of a step is corrected by this one."""

    def _settled(self, enough: Callable[[RateControl, int], bool]) -> int:
        """`first` of the rough encoder, corrected by a few steps of this one."""
        i = self.first(lambda step: enough(self.rough, step))
        while i > 0 and enough(self, i - 1):
            i -= 1
        while i < len(self.ladder) - 1 and not enough(self, i):
            i += 1
        return i

    def first(self, enough: Callable[[int], bool]) -> int:
        """The first step of the ladder that is `enough`, taking it that those after it are too; the last, if none."""
        low, high = 0, len(self.ladder) - 1
        while low < high:
            middle = (low + high) // 2
            if enough(middle):
                high = middle
            else:
                low = middle + 1
        return low

    def step(self, i: int) -> bytes:
        """The file at step i of the ladder."""
        return self.file(self.ladder[i].rate, self.ladder[i].keep)

    def within(self, max_bytes: int) -> tuple[bytes | None, bytes]:
        """The largest complete file within `max_bytes` that was found, and the smallest found beyond it.

        The second is the finest of all where that fits too. Files shrink as the rate grows, near enough.
        """
        i = self._settled(lambda encoding, step: len(encoding.step(step)) > max_bytes)
        over = self.step(i)
        if len(over) <= max_bytes:
            return over, over
        under = self.step(i - 1) if i > 0 and len(self.step(i - 1)) <= max_bytes else None
        if not self.by_rate or under is None:
            return under, over
        # Files between two steps have the layers of the finer one.
        low, high = self.ladder[i].rate, self.ladder[i - 1].rate
        for _ in range(SEARCH):
            if len(under) >= CLOSE * max_bytes or high / max(low, 1e-9) < NEAR:
                break
            share = (len(over) - max_bytes * (1 + CLOSE) / 2) / max(len(over) - len(under), 1)
            rate = _between(low, high, min(max(share, 0.1), 0.9))
            made = self.file(rate, self.ladder[i].keep)
            if len(made) <= max_bytes:
                high, under = rate, max(under, made, key=len)
            else:
                low, over = rate, min(over, made, key=len)
        return under, over

    def reaching(self, measured: Callable[[RateControl, float, int], float], target: float) -> bytes | None:
        """The smallest file found whose `measured(encoding, rate, keep)` is at least `target`; None if the finest is
        not. The encoding that it is asked about is this one or its rough one."""

        def reached(encoding: RateControl, step: int) -> bool:
            return measured(encoding, self.ladder[step].rate, self.ladder[step].keep) >= target

        i = self._settled(reached)
        if not reached(self, i):
            return None
        found = self.step(i)
        if i == 0:
            # Below the ladder there are its first file's first layers.
            rate, keep = self.ladder[0].rate, self.ladder[0].keep
            fewer = (k for k in range(1, keep) if measured(self, rate, k) >= target)
            return self.file(rate, next(fewer, keep))
        if not self.by_rate:
            return found
        low, high = self.ladder[i].rate, self.ladder[i - 1].rate
        for _ in range(SEARCH):
            if high / max(low, 1e-9) < NEAR:
                break
            rate = _between(low, high, 0.5)
            if measured(self, rate, self.ladder[i].keep) >= target:
                low, found = rate, min(found, self.file(rate, self.ladder[i].keep), key=len)
            else:
                high = rate
        return found


def _between(low: float, high: float, share: float) -> float:
    """Rate between `low` (share 0) and `high` (share 1), geometric; 0 counts as a thousandth of `high`."""
    low = max(low, high / 1000)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
