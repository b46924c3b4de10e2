"""Independent decoder of scalar planes, after FORMAT.md: Python integers, position by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Symbols = Callable[[Sequence[int]], int]
"""(frequencies) -> the next symbol."""


def log_size(v: int) -> int:
    return min(127, round(18 * math.log2(1 + abs(v))))


def log_value(v: int) -> int:
    return (v > 0) * log_size(v) - (v < 0) * log_size(v)


def offsets(kind: str) -> list[tuple[int, int]]:
    def coded(dy: int, dx: int) -> bool:
        a, b = dy % 2, dx % 2
        if kind.endswith("2") and not a and not b:
            return abs(dy) + abs(dx) == 2
        seen = {"row": b and not a, "column": a, "diagonal": a or b, "cross": a != b, "first": 0}
        return bool(seen[kind.removesuffix("2")])

    return [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0) and coded(dy, dx)]


def passes(h: int, w: int, pyramid: bool) -> list[tuple[str, int, list[tuple[int, int]]]]:
    def grid(y0: int, x0: int, step: int) -> list[tuple[int, int]]:
        return [(y, x) for y in range(y0, h, step) for x in range(x0, w, step)]

    if not pyramid:
        return [("first", 0, grid(0, 0, 2) + grid(1, 1, 2)), ("cross", 0, grid(0, 1, 2) + grid(1, 0, 2))]
    found = [("first", 4, grid(0, 0, 16))]
    for level in (3, 2, 1, 0):
        t = 1 << level
        for kind, y0, x0 in (("row", 0, t), ("column", t, 0), ("diagonal", t, t)):
            places = grid(y0, x0, 2 * t)
            halves = [[(y, x) for y, x in places if (y // (2 * t) + x // (2 * t)) % 2 == half] for half in (0, 1)]
            found += [(kind, level, halves[0]), (f"{kind}2", level, halves[1])]
    return found


def neighbour(kind: str, h: int, w: int, y: int, x: int, dy: int, dx: int, t: int) -> tuple[int, int]:
    ny, nx = y + dy * t, x + dx * t
    ny = ny if 0 <= ny < h else y - dy * t
    nx = nx if 0 <= nx < w else x - dx * t
    if 0 <= ny < h and 0 <= nx < w:
        return ny, nx
    if kind != "cross":
        ay, ax = {"diagonal": (-t, -t), "row": (0, -t), "column": (-t, 0)}[kind.removesuffix("2")]
        return y + ay, x + ax
    near = [(y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)]
    return next((a, b) for a, b in near if 0 <= a < h and 0 <= b < w)


class Reader:
    """Decoder of a tile; `values` [D][h][w] holds the layers read."""

    def __init__(self, widths: Sequence[int], tensors: Mapping[str, np.ndarray], h: int, w: int, step: int) -> None:
        self.widths, self.h, self.w, self.step = widths, h, w, step
        self.t = {name.removeprefix("scalar."): value.astype(np.int64) for name, value in tensors.items()}
        ends = np.cumsum(self.t["table_lengths"]).tolist()
        self.tables = [self.t["tables"][a:b].tolist() for a, b in zip([0, *ends], ends, strict=False)]
        self.values = [[[0] * w for _ in range(h)] for _ in range(sum(widths))]

    def at(self, c: int, y: int, x: int) -> int:
        return self.values[c][y][x] if 0 <= y < self.h and 0 <= x < self.w else 0

    def inputs(self, k: int, y: int, x: int) -> list[int]:
        found: list[int] = []
        near = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        for m in range(k):
            first = sum(self.widths[:m])
            channels = range(first, first + self.widths[m])
            found += [log_size(self.at(c, y, x)) for c in channels]
            found += [log_size(sum(abs(self.at(c, *p)) for c in channels)) for p in near]
            found += [log_value(self.at(c, *p)) for p in near for c in channels if c < 16]
        return found

    def predict(self, k: int, kind: str, level: int, y: int, x: int) -> tuple[list[int], list[int]]:
        """Location in 1/8 steps and scale class of each channel of layer k at a position."""
        get = lambda name: self.t[f"{k}.{name}"]  # noqa: E731
        first, n = sum(self.widths[:k]), self.widths[k]
        near = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        location = get("linear_bias").copy()
        if 1 <= k <= 7:
            location = location + np.array([self.at(c, *p) for c in range(min(first, 10)) for p in near]) @ get("cross")
        here = [neighbour(kind, self.h, self.w, y, x, dy, dx, 1 << level) for dy, dx in offsets(kind)]
        u = np.array([[self.values[c][a][b] for a, b in here] for c in range(first, first + n)], np.int64)
        if here:
            location = location + (u * get(f"linear.{kind}").T).sum(1)
        q = ((location + 32) // 64).clip(-32760, 32760)
        sums = np.array(self.inputs(k, y, x), np.int64) @ get("first") if k else 0
        sums = sums + get(f"bias.{kind}") + get("level")[level] + get("step")[self.step]
        scale = get(f"scale_kind.{kind}") + get("scale_level")[level] + get("scale_step")[self.step]
        if here:
            d = u - ((q + 4) // 8)[:, None]
            inside = np.array([max(abs(dy), abs(dx)) == 1 for dy, dx in offsets(kind)])
            outside = inside if inside.all() else ~inside
            spreads = [[log_size(int(row[which].__abs__().sum())) for row in d] for which in (inside, outside)]
            own = [log_value(int(v)) for row in d for v in row] if n <= 4 else spreads[0] + spreads[1]
            sums = sums + np.array(own) @ get(f"own.{kind}")
            scale = scale + (np.array(spreads) * get(f"spread.{kind}")).sum(0)
        h1 = (sums // 256).clip(0, 127)
        h2 = (h1 + (h1 @ get("hidden") + get("hidden_bias")) // 256).clip(0, 127)
        classes = ((h2 @ get("scale") + scale + 256) // 512).clip(0, len(self.tables) // 5 - 1)
        return q.tolist(), classes.tolist()

    def read_context_layer(self, k: int, symbol: Symbols) -> None:
        first, n = sum(self.widths[:k]), self.widths[k]
        for kind, level, places in passes(self.h, self.w, k < 2):
            predicted = [self.predict(k, kind, level, y, x) for y, x in places]
            waiting: dict[int, list[tuple[int, int]]] = {}
            for c in range(n):
                for i, (q, classes) in enumerate(predicted):
                    m = (q[c] + 4) // 8
                    waiting.setdefault(5 * classes[c] + abs(q[c] - 8 * m), []).append((c, i))
            for table in sorted(waiting, reverse=True):
                row = self.tables[table]
                reach = len(row) // 2 - 1
                residuals = [symbol(row) - reach for _ in waiting[table]]
                self._read_escapes(residuals, reach, symbol)
                for (c, i), r in zip(waiting[table], residuals, strict=True):
                    q, (y, x) = predicted[i][0][c], places[i]
                    m = (q + 4) // 8
                    self.values[first + c][y][x] = min(max(m - r if q < 8 * m else m + r, -4095), 4095)

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
