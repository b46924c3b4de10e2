"""rANS coder of one access tile: one stream, cut at layer boundaries, of which every prefix decodes.

Asymmetric numeral systems: Duda 2013; the coder is that of the library constriction. An entropy model drives both
directions through the same calls, in decoding order: the encoder reads the symbols, the decoder writes them in place.
rANS is a stack, so the encoder collects symbols and tables and pushes them in reverse at the end. The words are stored
in reverse as well, because a decoder takes them from the end.

Tables are integers in float32 with a sum of at most 2**24: every partial sum is exact, so streams depend on nothing but
IEEE division and multiplication (FORMAT.md, "Entropy coding").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import constriction
import numpy as np

from ..errors import FormatError

MAX_TOTAL = 2**24
"""Largest sum of a table: integers up to it are exact in float32."""
MANY, SHORT, PEAKED = 1000, 32, 0.9
"""Least number of symbols, most table entries and least share of the likeliest entry of a lazy model."""
_FAMILY = constriction.stream.model.Categorical(perfect=False)


class Coder(Protocol):
    """Encoder or decoder of symbols; arrays `symbols` are int32, contiguous."""

    encodes: bool
    """True where `symbols` are given; a decoder fills them in place."""

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Code `symbols` [n], all by one table of integer frequencies [K]."""

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Code `symbols` [n], each by its own row of integer frequencies [n, K]."""

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """Code one of `options` equally likely numbers 0..options - 1; only encoders call `decide` for it."""

    def end_layer(self) -> None:
        """Begin the next layer."""


class TileEncoder:
    """Encoder of a tile: collects its symbols, and encodes them in `segments`."""

    encodes = True

    def __init__(self) -> None:
        self.layers: list[list[tuple[np.ndarray, np.ndarray]]] = [[]]

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Collect `symbols` int32 [n], all with one table of frequencies [K]."""
        if len(table) > 1 and len(symbols):
            self.layers[-1].append((_row(table), symbols.astype(np.int32)))

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Collect `symbols` int32 [n] with their rows of frequencies [n, K]."""
        if rows.shape[-1] > 1 and len(symbols):
            self.layers[-1].append((_row(rows), symbols.astype(np.int32)))

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """Collect the number 0..options - 1 that `decide` returns, and return it."""
        number = decide() if options > 1 else 0
        self.code(np.ones(options, np.float32), np.array([number], np.int32))
        return number

    def end_layer(self) -> None:
        """Begin the segment of the next layer."""
        self.layers.append([])

    def segments(self) -> list[bytes]:
        """One segment for each layer, of 32-bit little-endian words; the first k segments decode the first k layers."""
        layers = self.layers[:-1] if not self.layers[-1] else self.layers
        coder = constriction.stream.stack.AnsCoder()
        starts = []
        for layer in reversed(layers):
            # Only later layers need the words below this mark.
            starts.append(int(coder.pos()[0]))
            for table, symbols in reversed(layer):
                if table.ndim == 1:
                    coder.encode_reverse(symbols, _model(table, len(symbols)))
                else:
                    coder.encode_reverse(symbols, _FAMILY, table)
        words = np.ascontiguousarray(coder.get_compressed())
        starts.reverse()
        ends = [len(words), *starts[:-1]]
        return [words[a:b][::-1].astype("<u4").tobytes() for a, b in zip(starts, ends, strict=True)]


class TileDecoder:
    """Decoder of a tile from its first segments; symbols beyond the end of a cut stream are left as they are."""

    encodes = False

    def __init__(self, segments: Sequence[bytes], cut: bool) -> None:
        self.cut = cut
        words = np.frombuffer(b"".join(segments), dtype="<u4")[::-1].astype(np.uint32)
        try:
            self.coder = constriction.stream.stack.AnsCoder(words)
        except ValueError as error:
            raise FormatError(f"entropy-coded data: not a valid stream ({error})") from error
        self.exhausted = False

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Fill `symbols` int32 [n], all by one table of frequencies [K]."""
        if len(table) < 2:
            symbols[:] = 0
        elif len(symbols) and not self.exhausted:
            model = _model(_row(table), len(symbols))
            if self.cut:
                self._take(symbols, lambda coder, a, b: coder.decode(model, b - a))
            else:
                symbols[:] = self.coder.decode(model, len(symbols))

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Fill `symbols` int32 [n], each by its row of frequencies [n, K]."""
        if rows.shape[-1] < 2:
            symbols[:] = 0
        elif len(symbols) and not self.exhausted:
            rows = _row(rows)
            if self.cut:
                self._take(symbols, lambda coder, a, b: coder.decode(_FAMILY, rows[a:b]))
            else:
                symbols[:] = self.coder.decode(_FAMILY, rows)

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """Number 0..options - 1 from the stream; `decide` is not called."""
        number = np.zeros(1, np.int32)
        self.code(np.ones(options, np.float32), number)
        return int(number[0])

    def end_layer(self) -> None:
        """Do nothing: one stream holds all layers."""

    def is_complete(self) -> bool:
        """True if the state is the initial one: damage or a cut leaves another."""
        return bool(self.coder.is_empty())

    def finish(self) -> None:
        """Raise FormatError unless the stream ends exactly here."""
        if not self.is_complete():
            raise FormatError("entropy-coded data: the stream does not end where it should; the file is damaged")

    def _take(self, symbols: np.ndarray, decode: Callable[[Any, int, int], np.ndarray]) -> None:
        """Fill the symbols that a cut stream holds."""
        # A cut stream holds a symbol as long as the state can be refilled after the symbol before it.
        before = self.coder.clone()
        values = decode(self.coder, 0, len(symbols))
        if self.coder.num_words() >= 2:
            symbols[:] = values
            return
        self.coder, self.exhausted = before, True
        for i in range(len(symbols)):
            if self.coder.num_words() < 2:
                break
            symbols[i : i + 1] = decode(self.coder, i, i + 1)


def _row(table: np.ndarray) -> np.ndarray:
    """Tables as contiguous float32. Raises ValueError for sums beyond MAX_TOTAL, whose float32 sums are not exact."""
    table = np.ascontiguousarray(table, dtype=np.float32)
    # In float32 a sum up to MAX_TOTAL is exact, and no larger one is rounded to less.
    total = table @ all_ones(table.shape[-1])
    if table.ndim > 1:
        total = total.max()
    if not 0 < total <= MAX_TOTAL:
        raise ValueError(f"table: the sum of its frequencies is {total}, beyond 1..{MAX_TOTAL}")
    return table


def _model(table: np.ndarray, count: int) -> Any:
    """The distribution of `count` symbols with frequencies [K]."""
    # A lazy model is the same distribution. It tries symbol after symbol, which is faster where most are the same.
    lazy = count >= MANY and len(table) <= SHORT and table.max() >= PEAKED * table.sum()
    return constriction.stream.model.Categorical(table, lazy=lazy, perfect=False)


@lru_cache(maxsize=64)
def all_ones(n: int) -> np.ndarray:
    """Float32 [n] of ones, kept in memory and read-only."""
    ones = np.ones(n, np.float32)
    ones.setflags(write=False)
    return ones
