"""Independent decoder of scalar planes, after FORMAT.md: Python integers, position by position."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Symbols = Callable[[Sequence[int]], int]
"""(frequencies) -> the next symbol."""
PARITIES = [(0, 0), (1, 1), (0, 1), (1, 0)]
NEAR = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


def log_size(v: int) -> int:
    return min(127, round(18 * math.log2(1 + abs(v))))


def log_value(v: int) -> int:
    return (v > 0) * log_size(v) - (v < 0) * log_size(v)


class Reader:
    """Decoder of a tile; `values` [D][h][w] holds the layers read."""

    def __init__(self, levels: int, tensors: Mapping[str, np.ndarray], h: int, w: int, step: int) -> None:
        self.levels, self.h, self.w, self.step = levels, h, w, step
        self.t = {name.removeprefix("scalar."): value.astype(np.int64) for name, value in tensors.items()}
        ends = np.cumsum(self.t["table_lengths"]).tolist()
        self.tables = [self.t["tables"][a:b].tolist() for a, b in zip([0, *ends], ends, strict=False)]
        self.values = [[[0] * w for _ in range(h)] for _ in range(3 * 4**levels)]

    def place(self, colour: int, level: int, band: str, y: int, x: int) -> tuple[int, int, int] | None:
        """Plane, row and column of a coefficient; None outside its band."""
        if y < 0 or x < 0:
            return None
        if level >= self.levels:
            t = 2 ** (level - self.levels)
            row, column = 2 * t * y + t * (band in "vd"), 2 * t * x + t * (band in "hd")
            if band == "low":
                row, column = 16 * y, 16 * x
            return (colour, row, column) if row < self.h and column < self.w else None
        side = 2 ** (self.levels - 1 - level)
        if y >= self.h * side or x >= self.w * side:
            return None
        first = 3 * side * side + colour * 3 * side * side
        plane = first + "hvd".index(band) * side * side + y % side * side + x % side
        return plane, y // side, x // side

    def at(self, colour: int, level: int, band: str, y: int, x: int) -> int:
        found = self.place(colour, level, band, y, x) if level < self.levels + 4 else None
        return 0 if found is None else self.values[found[0]][found[1]][found[2]]

    @staticmethod
    def own(number: int) -> list[tuple[int, int]]:
        """Offsets of the coded neighbours in the band itself."""
        py, px = PARITIES[number]
        wide = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        return [(dy, dx) for dy, dx in wide if ((py + dy) % 2, (px + dx) % 2) in PARITIES[:number]]

    def sources(self, colour: int, level: int, band: str, number: int, y: int, x: int) -> list[int]:
        py, px = PARITIES[number]
        found = [self.at(colour, level, band, y + dy, x + dx) for dy, dx in self.own(number)]
        for other in {"h": "v", "v": "h", "d": "hv"}[band]:
            coded = PARITIES if band == "d" else PARITIES[: number + (band == "v")]
            near = [(dy, dx) for dy, dx in NEAR if ((py + dy) % 2, (px + dx) % 2) in coded]
            found += [self.at(colour, level, other, y + dy, x + dx) for dy, dx in near]
        for other in "hvd":
            found += [self.at(colour, level + 1, other, y // 2 + dy, x // 2 + dx) for dy, dx in NEAR]
        for before in range(colour - 1, -1, -1):
            found += [self.at(before, level, band, y + dy, x + dx) for dy, dx in NEAR]
            found += [self.at(before, level, other, y, x) for other in "hvd" if other != band]
        return found

    def predict(self, k: int, colour: int, level: int, band: str, number: int, y: int, x: int) -> tuple[int, int]:
        """Location in 1/8 steps and scale class of a coefficient."""
        get = lambda name: self.t[f"{k}.{colour}.{name}"]  # noqa: E731
        kind = f"{band}{number}"
        row = max(self.levels + 3 - level, 0) if k < 2 else 0
        u = np.array([self.at(colour, level, band, y + dy, x + dx) for dy, dx in self.own(number)], np.int64)
        total = int(u @ get(f"linear.{kind}")) if len(u) else 0
        q = min(max((total + 32) // 64, -32760), 32760)
        if band == "low":
            inputs = [log_value(int(v) - (q + 4) // 8) for v in u]
        else:
            inputs = [log_size(v) for v in self.sources(colour, level, band, number, y, x)]
        sums = get(f"bias.{kind}") + get("level")[row] + get("step")[self.step]
        if inputs:
            sums = sums + np.array(inputs, np.int64) @ get(f"first.{kind}")
        h1 = (sums // 256).clip(0, 127)
        h2 = (h1 + (h1 @ get("hidden") + get("hidden_bias")) // 256).clip(0, 127)
        total = int(h2 @ get("scale") + get(f"scale_kind.{kind}")[0] + get("scale_level")[row])
        found = (total + int(get("scale_step")[self.step]) + 256) // 512
        return q, min(max(found, 0), len(self.tables) // 5 - 1)

    def passes(self, k: int) -> list[tuple[int, int, str, int]]:
        """(colour, level, band, number) of each pass of a layer."""
        found = []
        for colour in (1, 2) if k % 2 else (0,):
            levels = range(self.levels + 3, self.levels - 1, -1) if k < 2 else [self.levels - k // 2]
            if k < 2:
                found += [(colour, levels[0], "low", number) for number in range(4)]
            for level in levels:
                found += [(colour, level, band, number) for number in range(4) for band in "hv"]
                found += [(colour, level, "d", number) for number in range(4)]
        return found

    def places(self, colour: int, level: int, band: str) -> list[tuple[int, int, int]]:
        """Plane, row and column of all coefficients of a band, row by row."""
        rows = itertools.takewhile(lambda y: self.place(colour, level, band, y, 0), itertools.count())
        columns = list(itertools.takewhile(lambda x: self.place(colour, level, band, 0, x), itertools.count()))
        found = [self.place(colour, level, band, y, x) for y in rows for x in columns]
        return [place for place in found if place is not None]

    def read_context_layer(self, k: int, symbol: Symbols) -> None:
        for colour, level, band, number in self.passes(k):
            py, px = PARITIES[number]
            rows, columns = 16 * self.h, 16 * self.w
            found = (
                (y, x, self.place(colour, level, band, y, x))
                for y in range(py, rows, 2)
                if self.place(colour, level, band, y, 0) is not None
                for x in range(px, columns, 2)
            )
            places = [(y, x, place) for y, x, place in found if place is not None]
            predicted = [self.predict(k, colour, level, band, number, y, x) for y, x, _ in places]
            waiting: dict[int, list[int]] = {}
            for i, (q, scale) in enumerate(predicted):
                waiting.setdefault(5 * scale + abs(q - 8 * ((q + 4) // 8)), []).append(i)
            for table in sorted(waiting, reverse=True):
                row = self.tables[table]
                reach = len(row) // 2 - 1
                residuals = [symbol(row) - reach for _ in waiting[table]]
                self._read_escapes(residuals, reach, symbol)
                for i, r in zip(waiting[table], residuals, strict=True):
                    q, (plane, y, x) = predicted[i][0], places[i][2]
                    m = (q + 4) // 8
                    self.values[plane][y][x] = min(max(m - r if q < 8 * m else m + r, -4095), 4095)

    @staticmethod
    def _read_escapes(residuals: list[int], reach: int, symbol: Symbols) -> None:
        beyond = [i for i, r in enumerate(residuals) if r == reach + 1]
        negative = [symbol([1, 1]) for _ in beyond]
        digits = [symbol([1] * 14) for _ in beyond]
        low = [0] * len(beyond)
        for b in range(1, 14):
            for j, have in enumerate(digits):
                if have == b:
                    low[j] = symbol([1] * 2**b)
        for j, i in enumerate(beyond):
            size = reach + 2 ** digits[j] + low[j]
            residuals[i] = -size if negative[j] else size
