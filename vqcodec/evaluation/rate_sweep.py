"""One rival's files of one picture: what each setting gives, and which settings are worth a file.

Differs from rivals.py, the codecs, and from ruler.py, which knows of ours: here a file is made and measured at most
once, or not at all if what it measured is known already. Of the two searches, one finds the file that a comparison is
made with, the other files for a curve.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from vqcodec.errors import InputError
from vqcodec.metrics import Metric, Pixels

from .codecs import Rival

NEIGHBOURS = 2
"""Settings tried each side of the one a bisection ends at, since sizes are only nearly monotone."""
SHARED = 32
"""Up to this position of the ladder every curve has the same stops, so that there are means over all pictures."""
POINTS = 6
"""Files that a curve has in the range it is asked for, where the ladder has so many steps there."""


@dataclass
class File:
    """What is known of one file."""

    n_bytes: int
    encode_s: float
    """Seconds that making it took."""
    decode_s: float = math.nan
    """Seconds that reading it took; nan before that."""
    scores: dict[str, float] = field(default_factory=dict)
    """By `Metric.column`."""


class Ladder:
    """The files of `rival` for `pixels`, uint8 [H, W, 3], by setting.

    `files` are those known from before. They are made again only to be measured by another metric; InputError then,
    if the file has another size, since it is another encoder's.
    """

    def __init__(
        self, rival: Rival, pixels: Pixels, metrics: Sequence[Metric] = (), files: Mapping[int, File] | None = None
    ) -> None:
        self.rival = rival
        self.pixels = pixels
        self.metrics = metrics
        self.files = dict(files or {})
        self.grown = False
        """Whether anything was made or measured here that no cache has been told."""
        self._data: dict[int, bytes] = {}

    def size(self, setting: int) -> int:
        """Bytes of the whole file."""
        if setting not in self.files:
            self._make(setting)
        return self.files[setting].n_bytes

    def measured(self, setting: int) -> File:
        """The file with its scores by every metric and its seconds."""
        self.size(setting)
        file = self.files[setting]
        missing = [metric for metric in self.metrics if metric.column not in file.scores]
        if missing or math.isnan(file.decode_s):
            if setting not in self._data:
                self._make(setting)
            start = time.perf_counter()
            decoded = self.rival.decode(self._data[setting])
            file.decode_s = time.perf_counter() - start
            file.scores |= {metric.column: metric.measure(self.pixels, decoded) for metric in missing}
            self.grown = True
        return file

    def _make(self, setting: int) -> None:
        start = time.perf_counter()
        data = self.rival.encode(self.pixels, setting)
        made = File(len(data), time.perf_counter() - start)
        known = self.files.setdefault(setting, made)
        if known.n_bytes != made.n_bytes:
            raise InputError(
                f"{self.rival.name} at {setting} gives {made.n_bytes} bytes, the cache says {known.n_bytes}: it is of "
                "another encoder; name another folder"
            )
        self._data[setting] = data
        self.grown = True

    @property
    def fits(self) -> bool:
        """Whether the codec has files of so large a picture."""
        return max(self.pixels.shape[:2]) <= self.rival.max_side_px

    def largest_within(self, limit: int) -> int | None:
        """The setting of the rival's largest file of at most `limit` bytes, or None if it has none.

        Bisection, then the neighbours of where it ended. Looks at files of this search only, never at others that are
        known, so that a result does not depend on what was searched before.
        """
        if not self.fits:
            return None
        settings = self.rival.settings
        low, high = -1, len(settings)  # positions: `low` fits, `high` does not
        tried: set[int] = set()
        while high - low > 1:
            middle = (low + high) // 2
            tried.add(middle)
            if self.size(settings[middle]) <= limit:
                low = middle
            else:
                high = middle
        tried.update(range(max(low - NEIGHBOURS, 0), min(low + NEIGHBOURS + 1, len(settings))))
        sizes = [(self.size(settings[i]), i) for i in tried]
        fitting = [(size, i) for size, i in sizes if size <= limit]
        return settings[max(fitting)[1]] if fitting else None

    def span(self, lowest: Mapping[str, float], highest: Mapping[str, float]) -> list[int]:
        """Settings of a curve over the qualities `lowest` to `highest`, by `Metric.column`, as far as the codec can.

        Positions 0, 1, 2, 4, 8 ... of the ladder, until all of `highest` is reached; then the widest gaps within the
        range, by size, are halved until it has `POINTS` files. About a dozen files, whatever the picture.
        """
        if not self.fits:
            return []
        last = len(self.rival.settings) - 1
        tried: list[int] = []
        for stop in sorted({0, last, *(2**i for i in range(last.bit_length()))}):
            tried.append(stop)
            if stop >= SHARED and self._reaches(stop, highest):
                break
        while len(inside := self._within(tried, lowest, highest)) < POINTS:
            gaps = [(self._ratio(a, b), -a, (a + b) // 2) for a, b in pairwise(inside) if b - a > 1]
            if not gaps:
                break
            insort(tried, max(gaps)[2])
        return [self.rival.settings[i] for i in tried]

    def _within(self, tried: Sequence[int], lowest: Mapping[str, float], highest: Mapping[str, float]) -> Sequence[int]:
        """Those between the last position that is under the range and the first above it, both included."""
        below = [k for k, stop in enumerate(tried) if self._reaches(stop, lowest, -1)]
        start = below[-1] if below else 0
        above = [k for k, stop in enumerate(tried) if k >= start and self._reaches(stop, highest)]
        return tried[start : above[0] + 1] if above else tried[start:]

    def _reaches(self, position: int, scores: Mapping[str, float], sign: int = 1) -> bool:
        """Whether the file there is as good as `scores` by every metric, or for a `sign` of -1 as bad."""
        own = self.measured(self.rival.settings[position]).scores
        return all(sign * own[column] >= sign * value for column, value in scores.items())

    def _ratio(self, a: int, b: int) -> float:
        settings = self.rival.settings
        return self.size(settings[b]) / self.size(settings[a])
