"""Files that keep different numbers of layers from place to place: the map of them, and a coder that skips the rest.

The map of a tile has an entry for each block of BLOCK x BLOCK positions: how many layers are kept there. It is coded
before the first layer, and what it leaves out is MISSING for contexts and decoder alike. FORMAT.md, "Map of kept
layers", specifies it. Only for tiles whose planes are grids of one shape, under a context model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..planes import MISSING
from .alphabet_split import Split
from .coder import Coder

BLOCK = 4
"""Side of a block, positions."""
MOST = 16
"""Largest entry: the layers that a file can have."""
LEARNT, BESIDE = 4, 12
"""What an entry adds to the frequency of its value: for all entries after it, and for the two beside and below it."""
LEARNING = 2**12
"""Entries of a tile that are learnt from."""


def map_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the map of a tile with planes of `shape` (h, w)."""
    return -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)


class TableCoder(Protocol):
    """What of a coder a map needs."""

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """As `Coder.code`."""


def code_map(coder: TableCoder, kept: np.ndarray) -> None:
    """Code the map int32 [rows, columns] of a tile, row by row; a decoder fills it in place."""
    table = np.ones(MOST + 1, np.float32)
    for i, (y, x) in enumerate(np.ndindex(*kept.shape)):
        near = table.copy()
        for value in (*kept[y - 1 : y, x], *kept[y, max(x, 1) - 1 : x]):
            near[value] += BESIDE
        coder.code(near, kept[y, x : x + 1])
        if i < LEARNING:
            table[kept[y, x]] += LEARNT


def map_bits(kept: np.ndarray) -> float:
    """Bits of a map as `code_map` codes it."""
    counter = _BitCounter()
    code_map(counter, kept)
    return counter.bits


def positions(kept: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Layers kept at each position of a plane of `shape`, int32 [h, w]."""
    return kept.repeat(BLOCK, 0).repeat(BLOCK, 1)[: shape[0], : shape[1]]


def map_of(planes: Sequence[np.ndarray], layers: Sequence[Sequence[int]]) -> np.ndarray | None:
    """The map int32 that the gaps of a tile's planes [h, w] come from; None if there are no gaps.

    Raises ValueError for gaps that are no map's.
    """
    if all(planes[s].min(initial=0) >= 0 for layer in layers for s in layer):
        return None
    shapes = {planes[s].shape for layer in layers for s in layer}
    if len(shapes) > 1 or len(shape := shapes.pop()) != 2:
        raise ValueError("gaps in planes of several shapes, or in sequences")
    known = [planes[s] >= 0 for layer in layers for s in layer]
    whole = np.logical_and.accumulate([np.all([planes[s] >= 0 for s in layer], 0) for layer in layers]).sum(0)
    found: np.ndarray = whole[::BLOCK, ::BLOCK].astype(np.int32)
    expected = [positions(found, shape) > k for k, layer in enumerate(layers) for _ in layer]
    if not np.array_equal(known, expected):
        raise ValueError("gaps that are not the last layers of whole blocks")
    return found


def everything(shape: Sequence[int]) -> np.ndarray:
    """The map of a tile that keeps all."""
    return np.full(map_shape(shape), MOST, np.int32)


class Keeping:
    """A coder of one tile for the layers that its map keeps; the other indices are MISSING and take nothing.

    `order` [positions] is the order of coding, `split` says how the codes of a plane are coded.
    """

    def __init__(
        self,
        inner: Coder,
        kept: np.ndarray,
        shape: tuple[int, ...],
        layers: Sequence[Sequence[int]],
        order: np.ndarray,
        split: Callable[[int], Split],
    ) -> None:
        self.inner, self.encodes = inner, inner.encodes
        here = positions(kept, shape).reshape(-1)[order]
        self.flags = [here > k for k, layer in enumerate(layers) for s in layer for _ in split(s).sizes]
        """Whether each position is kept, of the planes that are still to be coded."""
        self.done = 0

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        here = self._next(len(symbols))
        self._code(lambda some: self.inner.code(table, some), symbols, here)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        here = self._next(len(symbols))
        self._code(lambda some: self.inner.code_rows(rows[here], some), symbols, here)

    def choose(self, options: int, decide: Callable[[], int]) -> int:
        return self.inner.choose(options, decide)

    def end_layer(self) -> None:
        self.inner.end_layer()

    def _next(self, n: int) -> np.ndarray:
        here = self.flags[0][self.done : self.done + n]
        self.done += n
        if self.done == len(self.flags[0]):
            self.flags, self.done = self.flags[1:], 0
        return here

    @staticmethod
    def _code(code: Callable[[np.ndarray], None], symbols: np.ndarray, here: np.ndarray) -> None:
        some = symbols[here]
        code(some)
        symbols[:] = MISSING
        symbols[here] = some


class _BitCounter:
    """A coder that keeps nothing but the number of bits."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        self.bits -= sum(math.log2(table[symbol] / table.sum()) for symbol in symbols)
