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


def unlifted(line: list[int]) -> list[int]:
    """Inverse of a level along a line whose even positions hold the low, and odd ones the high band."""
    x = [min(max(v, -(2**17)), 2**17) for v in line]
    if len(x) == 1:
        return x
    x = [((1177 if i % 2 else 891) * v + 512) // 1024 for i, v in enumerate(x)]
    for first, weight in ((0, -454), (1, -904), (0, 54), (1, 1624)):
        for i in range(first, len(x), 2):
            left, right = x[abs(i - 1)], x[i + 1 if i + 1 < len(x) else i - 1]
            x[i] += (weight * (left + right) + 512) // 1024
    return x


class Reader:
    """Decoder of a tile; `values` [D][h][w] holds the layers read."""

    def __init__(self, levels: int, tensors: Mapping[str, np.ndarray], h: int, w: int, step: int) -> None:
        self.levels, self.h, self.w, self.step = levels, h, w, step
        self.t = {name.removeprefix("scalar."): value.astype(np.int64) for name, value in tensors.items()}
        ends = np.cumsum(self.t["table_lengths"]).tolist()
        self.tables = [self.t["tables"][a:b].tolist() for a, b in zip([0, *ends], ends, strict=False)]
        self.values = [[[0] * w for _ in range(h)] for _ in range(3 * 4**levels)]
        self.pictures: dict[tuple[int, int], list[list[int]]] = {}

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

    def low_pass(self, colour: int, level: int) -> list[list[int]]:
        """Low-pass picture at the grid of the bands of a level, in 1/8 steps."""
        if (colour, level) in self.pictures:
            return self.pictures[colour, level]
        if level >= self.levels:
            t = 2 ** (level + 1 - self.levels)
            rows, columns = -(-self.h // t), -(-self.w // t)
        else:
            t = 2 ** (self.levels - 1 - level)
            rows, columns = self.h * t, self.w * t
        if level == self.levels + 3:
            found = [[8 * self.at(colour, level, "low", y, x) for x in range(columns)] for y in range(rows)]
        else:
            coarser = self.low_pass(colour, level + 1)
            found = [[0] * columns for _ in range(rows)]
            for y, x in itertools.product(range(rows), range(columns)):
                if y % 2 == x % 2 == 0:
                    low = coarser[y // 2][x // 2]
                    found[y][x] = (768 * low + 512) // 1024 if level + 1 == 1 else low
                else:
                    band = {(0, 1): "h", (1, 0): "v", (1, 1): "d"}[y % 2, x % 2]
                    found[y][x] = 8 * self.at(colour, level + 1, band, y // 2, x // 2)
            columns_first = [
                list(row) for row in zip(*[unlifted(list(c)) for c in zip(*found, strict=True)], strict=True)
            ]
            found = [unlifted(row) for row in columns_first]
        self.pictures[colour, level] = found
        return found

    def slopes(self, colour: int, level: int, y: int, x: int) -> list[int]:
        """Differences between the low-pass picture around a position and at it, whole steps."""
        picture = self.low_pass(colour, level)

        def steps(y: int, x: int) -> int:
            return (picture[min(max(y, 0), len(picture) - 1)][min(max(x, 0), len(picture[0]) - 1)] + 4) // 8

        return [steps(y + dy, x + dx) - steps(y, x) for dy, dx in NEAR if (dy, dx) != (0, 0)]

    def predict(self, k: int, colour: int, level: int, band: str, number: int, y: int, x: int) -> tuple[int, int]:
        """Location in 1/8 steps and scale class of a coefficient."""
        get = lambda name: self.t[f"{k}.{colour}.{name}"]  # noqa: E731
        kind = f"{band}{number}"
        row = self.levels + 3 - level if k == 0 else 0
        u = np.array([self.at(colour, level, band, y + dy, x + dx) for dy, dx in self.own(number)], np.int64)
        total = int(u @ get(f"linear.{kind}")) if len(u) else 0
        q = (total + 32) // 64
        values = [] if band == "low" else self.sources(colour, level, band, number, y, x)
        if band == "low":
            q = min(max(q, -32760), 32760)
            inputs = [log_value(int(v) - (q + 4) // 8) for v in u]
        else:
            inputs = [log_size(v) for v in values]
        sums = get(f"bias.{kind}") + get("level")[row] + get("step")[self.step]
        if inputs:
            sums = sums + np.array(inputs, np.int64) @ get(f"first.{kind}")
        h1 = (sums // 256).clip(0, 127)
        sums = h1 @ get("hidden") + get("hidden_bias")
        if any(values):
            largest, s2 = self.shape(get, kind, values + self.slopes(colour, level, y, x), h1)
            part = min(max(int(s2 @ get(f"shape_location.{kind}") + 16) // 32, -1023), 1023)
            shift = (min(abs(largest), 8191) * part + 8) // 16
            q += -shift if largest < 0 else shift
            sums = sums + s2 @ get("shape_scale")
        h2 = (h1 + sums // 256).clip(0, 127)
        total = int(h2 @ get("scale") + get(f"scale_kind.{kind}")[0] + get("scale_level")[row])
        found = (total + int(get("scale_step")[self.step]) + 256) // 512
        return min(max(q, -32760), 32760), min(max(found, 0), len(self.tables) // 5 - 1)

    @staticmethod
    def shape(get: Callable[[str], np.ndarray], kind: str, x: list[int], h1: np.ndarray) -> tuple[int, np.ndarray]:
        """The first largest value of x, and the hidden units of the shape."""
        largest = next(v for v in x if abs(v) == max(map(abs, x)))
        ratio = 127 * 65536 // abs(largest)
        u = np.array([((-v if largest < 0 else v) * ratio + 32768) // 65536 for v in x], np.int64)
        sums = u @ get(f"shape_first.{kind}") + h1 @ get("shape_gate") + get(f"shape_bias.{kind}")
        s1 = (sums // 256).clip(0, 127)
        return largest, (s1 + (s1 @ get("shape_hidden") + get("shape_hidden_bias")) // 256).clip(0, 127)

    def passes(self, k: int) -> list[tuple[int, int, str, int]]:
        """(colour, level, band, number) of each pass of a layer."""
        found = []
        for colour in (0, 1, 2) if k == 0 else (0,) if k % 2 else (1, 2):
            levels = range(self.levels + 3, self.levels - 1, -1) if k == 0 else [self.levels - (k + 1) // 2]
            if k == 0:
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
