"""Map of kept layers: coding of the map, and a coder that skips the layers left out.

The map of a tile has an entry for each block of BLOCK x BLOCK positions: the number of layers kept there. It is coded
before the first layer, and indices that it leaves out are MISSING for contexts and decoder alike. FORMAT.md, "Map of
kept layers", specifies it. Only tiles whose planes are grids of one shape, under a context model, have maps.

An entry is coded by an adaptive table: every value starts with frequency 1, every coded entry adds ENTRY_WEIGHT to its
value, and the entries above and to the left add NEIGHBOUR for this entry alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..planes import MISSING, Grid, Layers
from .alphabet_split import AlphabetSplit
from .rans import Coder

BLOCK = 4
"""Side of a block, positions."""
ALL_LAYERS = 16
"""Entry of a block that keeps every layer of the file; a file has at most 16 layers."""
ENTRY_WEIGHT = 4
"""Added to the frequency of an entry's value for all entries after it."""
NEIGHBOUR = 12
"""Added to the frequency of the value above and of the value to the left."""
MAX_LEARNED_ENTRIES = 2**12
"""Entries of a tile that add ENTRY_WEIGHT; bounds the sum of a table."""


def map_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the map of a tile with planes of `shape` (h, w)."""
    return -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)


class TableCoder(Protocol):
    """The one method of a coder that maps need."""

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """See `Coder.code`."""


def code_map(coder: TableCoder, kept: np.ndarray) -> None:
    """Code the map int32 [rows, columns] of a tile, row by row; a decoder fills it in place."""
    table = np.ones(ALL_LAYERS + 1, np.float32)
    for i, (y, x) in enumerate(np.ndindex(*kept.shape)):
        near = table.copy()
        for value in (*kept[y - 1 : y, x], *kept[y, max(x, 1) - 1 : x]):
            near[value] += NEIGHBOUR
        coder.code(near, kept[y, x : x + 1])
        if i < MAX_LEARNED_ENTRIES:
            table[kept[y, x]] += ENTRY_WEIGHT


def map_bits(kept: np.ndarray) -> float:
    """Bits of a map under the frequencies of `code_map`."""
    counter = _BitCounter()
    code_map(counter, kept)
    return counter.bits


def kept_layers(kept: np.ndarray, shape: Grid) -> np.ndarray:
    """Map [rows, columns] -> layers kept at each position of a plane of `shape`, int32 [h, w]."""
    return kept.repeat(BLOCK, 0).repeat(BLOCK, 1)[: shape[0], : shape[1]]


def map_from_gaps(planes: Sequence[np.ndarray], layers: Layers) -> np.ndarray | None:
    """The map int32 that leaves MISSING where a tile's planes [h, w] have it; None if they have it nowhere.

    Raises ValueError for gaps that no map leaves.
    """
    if all(planes[s].min(initial=0) >= 0 for layer in layers for s in layer):
        return None
    shapes = {planes[s].shape for layer in layers for s in layer}
    if len(shapes) > 1 or len(shape := shapes.pop()) != 2:
        raise ValueError("gaps in planes of several shapes, or in sequences")
    known = [planes[s] >= 0 for layer in layers for s in layer]
    whole = np.logical_and.accumulate([np.all([planes[s] >= 0 for s in layer], 0) for layer in layers]).sum(0)
    found: np.ndarray = whole[::BLOCK, ::BLOCK].astype(np.int32)
    expected = [kept_layers(found, shape) > k for k, layer in enumerate(layers) for _ in layer]
    if not np.array_equal(known, expected):
        raise ValueError("gaps that are not the last layers of whole blocks")
    return found


def full_map(shape: Sequence[int]) -> np.ndarray:
    """The map of a tile with planes of `shape` (h, w) that keeps all layers."""
    return np.full(map_shape(shape), ALL_LAYERS, np.int32)


class LayerMapCoder:
    """A coder of one tile that passes on the symbols of kept layers; other indices are MISSING and take no bits.

    Args:
        inner: coder of the kept symbols.
        kept: map of the tile.
        shape: (h, w) of its planes.
        order: flat positions in coding order.
        split: symbols of the indices of a plane.
    """

    def __init__(
        self,
        inner: Coder,
        kept: np.ndarray,
        shape: Grid,
        layers: Layers,
        order: np.ndarray,
        split: Callable[[int], AlphabetSplit],
    ) -> None:
        self.inner, self.encodes = inner, inner.encodes
        here = kept_layers(kept, shape).reshape(-1)[order]
        self.flags = [here > k for k, layer in enumerate(layers) for s in layer for _ in split(s).sizes]
        """For each symbol plane still to be coded, True at kept positions, in coding order."""
        self.done = 0
        """Positions of the first of them that are coded."""

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Code those of `symbols` int32 [n] at kept positions, all by one table of frequencies [K]."""
        here = self._next(len(symbols))
        self._code(lambda some: self.inner.code(table, some), symbols, here)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Code those of `symbols` int32 [n] at kept positions, each by its row of frequencies [n, K]."""
        here = self._next(len(symbols))
        self._code(lambda some: self.inner.code_rows(rows[here], some), symbols, here)

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """Code one of `options` numbers with the inner coder, whatever the map holds."""
        return self.inner.code_choice(options, decide)

    def end_layer(self) -> None:
        """End the layer of the inner coder."""
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
    """A `TableCoder` that counts bits."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        self.bits -= sum(math.log2(table[symbol] / table.sum()) for symbol in symbols)
