"""Files of one reference codec for one picture: size and quality by setting, and the settings that are measured.

Each file is made and measured at most once. One search finds the file that a file of a model is compared with,
`largest_within`; the other finds the points of a rate-quality curve, `curve_settings`.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import InputError
from ..metrics import Metric, Pixels
from .codecs import ReferenceCodec

NEIGHBOURS = 2
"""Settings tried on each side of the bisection's result, since file size is only nearly monotone in the setting."""
LAST_SHARED = 32
"""Every curve has the same positions 0, 1, 2, 4 ... up to this one, so that means over all pictures exist there."""
POINTS = 6
"""Files of a curve within the requested quality range, where the codec has so many settings there."""


SPREAD = 10
"""Files of a codec for each picture where no model is measured."""


@dataclass
class CodedFile:
    """Size, seconds and scores of one file."""

    n_bytes: int
    encode_s: float
    """Seconds to encode."""
    decode_s: float = math.nan
    """Seconds to decode; nan until the file is decoded."""
    scores: dict[str, float] = field(default_factory=dict)
    """Metric.column -> score."""


class RateSweep:
    """Files of `codec` for `pixels`, uint8 [H, W, 3], by setting.

    `files` are results of an earlier run. Such a file is encoded again only for a metric that it lacks; InputError if
    its size then differs, since another version of the encoder made it.
    """

    def __init__(
        self,
        codec: ReferenceCodec,
        pixels: Pixels,
        metrics: Sequence[Metric] = (),
        files: Mapping[float, CodedFile] | None = None,
    ) -> None:
        self.codec = codec
        self.pixels = pixels
        self.metrics = metrics
        self.files = dict(files or {})
        self.changed = False
        """True once a file was made or measured that the cache does not hold."""
        self._data: dict[float, bytes] = {}

    def size(self, setting: float) -> int:
        """Bytes of the complete file."""
        if setting not in self.files:
            self._encode(setting)
        return self.files[setting].n_bytes

    def measured(self, setting: float) -> CodedFile:
        """The file with its scores by every metric and both times."""
        self.size(setting)
        file = self.files[setting]
        missing = [metric for metric in self.metrics if metric.column not in file.scores]
        if missing or (self.codec.timed and math.isnan(file.decode_s)):
            if setting not in self._data:
                self._encode(setting)
            start = time.perf_counter()
            decoded = self.codec.decode(self._data[setting])
            file.decode_s = self._seconds(start)
            file.scores |= {metric.column: metric.measure(self.pixels, decoded) for metric in missing}
            self.changed = True
        return file

    def _encode(self, setting: float) -> None:
        start = time.perf_counter()
        data = self.codec.encode(self.pixels, setting)
        new = CodedFile(self.codec.n_bytes(data), self._seconds(start))
        known = self.files.setdefault(setting, new)
        if known.n_bytes != new.n_bytes:
            raise InputError(
                f"{self.codec.name} at {setting} gives {new.n_bytes} bytes, the cache has {known.n_bytes}: another "
                "version of the encoder made it; use another cache folder"
            )
        self._data[setting] = data
        self.changed = True

    def data(self, setting: float) -> bytes:
        """The complete file, made again if an earlier run measured it."""
        if setting not in self._data:
            self._encode(setting)
        return self._data[setting]

    def _seconds(self, start: float) -> float:
        return time.perf_counter() - start if self.codec.timed else math.nan

    @property
    def fits(self) -> bool:
        """True if the format can hold a picture of this size."""
        return max(self.pixels.shape[:2]) <= self.codec.max_side_px

    def largest_within(self, limit: int) -> float | None:
        """The setting of the largest file of at most `limit` bytes; None if no file is so small.

        Bisection, then the neighbours of its result. Only files of this search are considered, not others that are
        known, so that the result does not depend on earlier searches.
        """
        if not self.fits:
            return None
        settings = self.codec.settings
        if not self.codec.monotone:
            fits = [(self.size(setting), i) for i, setting in enumerate(settings) if self.size(setting) <= limit]
            return settings[max(fits)[1]] if fits else None
        low, high = -1, len(settings)  # positions: `low` is within the limit, `high` is not
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

    def curve_settings(self, lowest: Mapping[str, float], highest: Mapping[str, float]) -> list[float]:
        """Settings of a curve over the scores `lowest` to `highest` (by Metric.column), as far as the codec goes.

        Positions 0, 1, 2, 4, 8 ... of the settings until all of `highest` is reached; then the largest gap within the
        range, by ratio of file sizes, is halved until the range holds POINTS files. About a dozen files per picture.
        """
        if not self.fits:
            return []
        if not self.codec.monotone:
            return list(self.codec.settings)
        last = len(self.codec.settings) - 1
        tried: list[int] = []
        for position in sorted({0, last, *(2**i for i in range(last.bit_length()))}):
            tried.append(position)
            if position >= LAST_SHARED and self._reaches(position, highest):
                break
        while len(inside := self._within(tried, lowest, highest)) < POINTS:
            gaps = [(self._size_ratio(a, b), -a, (a + b) // 2) for a, b in pairwise(inside) if b - a > 1]
            if not gaps:
                break
            insort(tried, max(gaps)[2])
        return [self.codec.settings[i] for i in tried]

    def spread_settings(self) -> list[float]:
        """Settings over the codec's whole range, SPREAD of them at most, where no model gives a range of scores."""
        if not self.fits:
            return []
        settings = self.codec.settings
        if not self.codec.monotone or len(settings) <= SPREAD:
            return list(settings)
        return [settings[round(i * (len(settings) - 1) / (SPREAD - 1))] for i in range(SPREAD)]

    def _within(self, tried: Sequence[int], lowest: Mapping[str, float], highest: Mapping[str, float]) -> Sequence[int]:
        """Positions from the last one below the range to the first one above it, both included."""
        below = [k for k, position in enumerate(tried) if self._reaches(position, lowest, -1)]
        start = below[-1] if below else 0
        above = [k for k, position in enumerate(tried) if k >= start and self._reaches(position, highest)]
        return tried[start : above[0] + 1] if above else tried[start:]

    def _reaches(self, position: int, scores: Mapping[str, float], sign: int = 1) -> bool:
        """True if the file is at least (sign 1) or at most (sign -1) as good as `scores` by every one of them."""
        own = self.measured(self.codec.settings[position]).scores
        worse = {metric.column for metric in self.metrics if metric.lower_is_better}
        signs = {column: -sign if column in worse else sign for column in scores}
        return all(signs[column] * own[column] >= signs[column] * value for column, value in scores.items())

    def _size_ratio(self, a: int, b: int) -> float:
        settings = self.codec.settings
        return self.size(settings[b]) / self.size(settings[a])
