"""Frequencies of prediction residuals: a table for each scale class and fraction of the location.

The residual r = q - round(location) of a value q is coded by the table of its scale class and of the distance between
the location and its rounded value, in eighths; where that distance is negative, r is mirrored. A table holds residuals
up to its reach; larger ones are coded as an escape symbol followed by their excess in Elias-gamma form (Elias 1975).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..planes import MISSING
from .rans import Coder

FRACTIONS = 5
"""Distances 0, 1/8, ... 4/8 between a location and its rounded value."""
TOTAL = 2**16
"""Sum of each table."""
MAX_ROWS = 256 * FRACTIONS
"""Most tables of a model."""
MAX_REACH = 255
"""Largest residual of a table."""
ESCAPE_BITS = 14
"""Most binary digits of the excess of an escaped residual."""


class ResidualTables:
    """Tables `rows[i]` int64 [2 * reach + 2]: frequencies of residuals -reach..reach, then of the escape.

    Row i = scale class * FRACTIONS + fraction. Raises ValueError for entries below 1 or another sum than TOTAL.
    """

    def __init__(self, rows: Sequence[np.ndarray]) -> None:
        if len(rows) > MAX_ROWS:
            raise ValueError(f"{len(rows)} residual tables: at most {MAX_ROWS}")
        self.rows = [np.asarray(row, np.int64) for row in rows]
        for i, row in enumerate(self.rows):
            if (
                row.ndim != 1
                or not 2 <= len(row) <= 2 * MAX_REACH + 2
                or len(row) % 2
                or row.min() < 1
                or row.sum() != TOTAL
            ):
                raise ValueError(f"residual table {i}: an even number of positive entries with sum {TOTAL} needed")
        self.reach = np.array([len(row) // 2 - 1 for row in self.rows], np.int32)
        self._float = [row.astype(np.float32) for row in self.rows]
        self.bits = np.full((len(self.rows), 2 * int(self.reach.max()) + 3), np.inf, np.float32)
        """Bits of residual r under row i at [i, r + largest reach]; last column: an escape with 4 bits of excess."""
        for i, row in enumerate(self.rows):
            cost = (np.log2(TOTAL) - np.log2(row)).astype(np.float32)
            start = int(self.reach.max() - self.reach[i])
            self.bits[i, start : start + len(row) - 1] = cost[:-1]
            self.bits[i, -1] = cost[-1] + 4

    @property
    def classes(self) -> int:
        """Number of scale classes."""
        return len(self.rows) // FRACTIONS

    def bits_of(self, row: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Bits float32 of mirrored residuals under the rows `row`; an estimate for escapes. Only encoders use it."""
        limit = self.reach[row]
        inside = np.abs(residual) <= limit
        column = np.where(inside, residual + int(self.reach.max()), self.bits.shape[1] - 1)
        found: np.ndarray = self.bits[row, column]
        return found

    def code(
        self, coder: Coder, row: np.ndarray, residual: np.ndarray, at: np.ndarray | None = None, rest: int = 0
    ) -> None:
        """Code mirrored residuals int32 [n]; a decoder fills `residual` in place.

        Rows are coded in falling order, so that a cut stream holds the residuals of the largest scales.

        Args:
            coder: encoder or decoder.
            row: rows [m] of the residuals at `at`.
            residual: the residuals.
            at: their positions [m], rising; None: all.
            rest: row of all other residuals.
        """
        at = np.arange(len(residual)) if at is None else at
        others = len(at) < len(residual)
        if others:
            apart = np.flatnonzero(row != rest)
            at, row = at[apart], row[apart]
        order = np.argsort((MAX_ROWS - row).astype(np.uint16), kind="stable")  # a radix sort
        row, places = row[order], at[order]
        found = residual[places]
        before = int(np.count_nonzero(row > rest)) if others else len(row)
        self._code_sorted(coder, row[:before], found[:before])
        if others:
            self._code_rest(coder, rest, residual, at)
        self._code_sorted(coder, row[before:], found[before:])
        residual[places] = found

    def _code_sorted(self, coder: Coder, row: np.ndarray, residual: np.ndarray) -> None:
        """Code residuals by their rows, which are in falling order."""
        if not len(row):
            return
        reach = self.reach[row]
        symbols = _symbols(coder, residual, reach)
        starts = [0, *(np.flatnonzero(row[1:] != row[:-1]) + 1).tolist()]
        numbers, largest = row[starts].tolist(), reach[starts].tolist()
        escaped = []
        for start, end, i, r in zip(starts, [*starts[1:], len(row)], numbers, largest, strict=True):
            part = symbols[start:end]
            coder.code(self._float[i], part)
            escapes = part == 2 * r + 1
            if np.count_nonzero(escapes):
                places = start + np.flatnonzero(escapes)
                escaped.append((places, _code_excess(coder, residual[places], r)))
        residual[:] = np.where(symbols < 0, UNKNOWN, symbols - reach)
        for places, values in escaped:
            residual[places] = values

    def _code_rest(self, coder: Coder, i: int, residual: np.ndarray, apart: np.ndarray) -> None:
        """Code by row i all residuals but those at `apart`, rising; a decoder sets the latter to 0. Most are 0."""
        reach = int(self.reach[i])
        given = np.zeros(len(residual) - len(apart), np.int32)
        if coder.encodes:
            there = np.ones(len(residual), bool)
            there[apart] = False
            given = residual[there]
        symbols = _symbols(coder, given, np.int32(reach))
        coder.code(self._float[i], symbols)
        places = np.flatnonzero(symbols != reach)
        found = np.where(symbols[places] < 0, UNKNOWN, symbols[places] - reach)
        escapes = np.flatnonzero(found == reach + 1)
        if len(escapes):
            found[escapes] = _code_excess(coder, given[places[escapes]], reach)
        if not coder.encodes:
            residual[:] = 0
            # As many of `apart` come before a place as there are others before it.
            residual[places + np.searchsorted(apart - np.arange(len(apart)), places, "right")] = found


UNKNOWN = np.int32(-(2**30))
"""Residual of a position beyond the end of a cut stream."""


def _symbols(coder: Coder, residual: np.ndarray, reach: np.ndarray | np.int32) -> np.ndarray:
    """Symbols int32 [n] of residuals; a decoder's are MISSING."""
    if not coder.encodes:
        return np.full(len(residual), MISSING, np.int32)
    found: np.ndarray = np.where(np.abs(residual) > reach, 2 * reach + 1, residual + reach)
    return found.astype(np.int32, copy=False)


def _code(coder: Coder, table: np.ndarray, symbols: np.ndarray) -> None:
    """Code symbols; they are MISSING beyond the end of a cut stream."""
    if not coder.encodes:
        symbols[:] = MISSING
    coder.code(table, symbols)


def _code_excess(coder: Coder, residual: np.ndarray, reach: int) -> np.ndarray:
    """Code residuals beyond `reach`: signs, then the excess as number of binary digits and digits below the first."""
    negative = (residual < 0).astype(np.int32)
    excess = np.maximum(np.abs(residual.astype(np.int64)) - reach, 1).clip(1, 2**ESCAPE_BITS - 1)
    digits = np.frexp(excess.astype(np.float64))[1].astype(np.int32) - 1
    _code(coder, np.ones(2, np.float32), negative)
    _code(coder, np.ones(ESCAPE_BITS, np.float32), digits)
    low = (excess - (1 << digits.clip(0))).astype(np.int32)
    for n in range(1, ESCAPE_BITS):
        here = np.flatnonzero(digits == n)
        if len(here):
            part = low[here]
            _code(coder, np.ones(1 << n, np.float32), part)
            low[here] = part
    low[digits == 0] = 0
    missing = (negative < 0) | (digits < 0) | (low < 0)
    value = (1 << digits.clip(0)) + low + reach
    found: np.ndarray = np.where(missing, UNKNOWN, np.where(negative == 1, -value, value)).astype(np.int32)
    return found
