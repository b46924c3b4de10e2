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
        self.reach = np.array([len(row) // 2 - 1 for row in self.rows])
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

    def code(self, coder: Coder, row: np.ndarray, residual: np.ndarray) -> None:
        """Code mirrored residuals int32 [n] by the rows `row` [n]; a decoder fills `residual` in place.

        Rows are coded in falling order, so that a cut stream holds the residuals of the largest scales.
        """
        order = np.argsort(-row, kind="stable")
        ends = np.flatnonzero(np.diff(row[order], append=-1)) + 1
        start = 0
        for end in ends:
            positions = order[start:end]
            self._code_row(coder, int(row[positions[0]]), positions, residual)
            start = int(end)

    def _code_row(self, coder: Coder, i: int, positions: np.ndarray, residual: np.ndarray) -> None:
        reach = int(self.reach[i])
        given = residual[positions]
        if coder.encodes:
            symbols = np.where(np.abs(given) > reach, 2 * reach + 1, given + reach).astype(np.int32)
        else:
            symbols = np.full(len(given), MISSING, np.int32)
        coder.code(self._float[i], symbols)
        found = np.where(symbols < 0, UNKNOWN, symbols - reach).astype(np.int32)
        beyond = np.flatnonzero(symbols == 2 * reach + 1)
        if len(beyond):
            found[beyond] = _code_excess(coder, given[beyond], reach)
        residual[positions] = found


UNKNOWN = np.int32(-(2**30))
"""Residual of a position beyond the end of a cut stream."""


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
