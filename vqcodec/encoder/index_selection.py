"""Rate-aware choice of indices: distance + price * bits, under the entropy model that will code them.

A `Chooser` is a coder that writes the cheapest symbol where a decoder would write the coded one, so that a model runs
the very code it codes with, and every choice sees those before it as its context (entropy-constrained quantization:
Chou, Lookabaugh and Gray 1989; here greedily, position by position). Encoder side only: floating point may round as
it likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..entropy.alphabet_split import Split
from ..entropy.coder import Coder, TileEncoder
from ..entropy.context_kernels import torch_is_loaded
from ..entropy.layer_map import code_map
from ..entropy.layer_map import positions as kept_at
from ..entropy.tiles import EntropyModel, alike, skipping
from ..entropy.workers import for_each
from ..planes import Layers, Maps, Planes, Shapes

Distances = Callable[[int, int, np.ndarray, Sequence[np.ndarray]], np.ndarray]
"""(tile, plane, flat positions int64 [n], codes of the tile's planes [positions], final for those before this plane)
-> squared distances float32 [n, K] of what is there from each codeword."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for a tile."""

    planes: Planes
    """int32, of the shapes asked for."""
    bits: np.ndarray
    """float64 [planes], what the choice takes under the model's frequencies, without the end of the stream."""
    distances: np.ndarray
    """float64 [planes], sums over the positions."""
    segments: list[bytes]
    """One a layer, as `encode_tiles` would make them of the planes; none unless they were asked for."""
    spent: list[np.ndarray]
    """float32 of the planes' shapes, bits that each index takes; none unless they were asked for."""


def choose_tiles(
    model: EntropyModel,
    distances: Distances,
    prices: np.ndarray,
    shapes: Sequence[Shapes],
    layers: Layers,
    weights: Sequence[Sequence[np.ndarray]] | None = None,
    start: Sequence[Planes] | None = None,
    coded: bool = False,
    maps: Maps | None = None,
    itemised: bool = False,
) -> list[Choice]:
    """Index planes of tiles of `shapes`, each index the one with the least distance + price * weight * bits.

    `prices` [tiles, planes] or [planes]: squared distance that a bit is worth, at least 0; at 0 the nearest codeword
    is taken. `weights[tile][plane]` of the plane's shape multiply the price. `distances` may be called from several
    threads. Only planes of `layers` are chosen. `start` are the planes that adaptive tables are fitted to before
    anything is chosen (for example the nearest codewords); a context model needs none. `coded` makes the segments too,
    in the same pass; `itemised` asks for the bits of each index. What `maps` of kept layers leave out is MISSING.
    """
    prices = np.broadcast_to(np.asarray(prices, np.float32), (len(shapes), len(model.sizes)))
    found: dict[int, Choice] = {}

    def choose(batch: list[int]) -> None:
        planes = [[np.zeros(shape, np.int32) for shape in shapes[t]] for t in batch]
        if start is not None:
            planes = [[np.array(plane, np.int32, order="C") for plane in start[t]] for t in batch]
        order = [s for layer in layers for s in layer]
        choosers = []
        for t in batch:
            positions = [model.order(tuple(shape)) for shape in shapes[t]]
            encoder = TileEncoder() if coded else None
            if maps is not None:
                if encoder:
                    code_map(encoder, np.array(maps[t]))
                layer_of = {s: k for k, layer in enumerate(layers) for s in layer}
                kept = kept_at(maps[t], shapes[t][0]).reshape(-1)
                positions = [p[kept[p] > layer_of.get(s, -1)] for s, p in enumerate(positions)]
            parts = [(s, part, model.split(s)) for s in order for part in range(len(model.split(s).sizes))]
            weight = None if weights is None else weights[t]
            choosers.append(Chooser(distances, t, shapes[t], positions, parts, prices[t], weight, encoder))
        coders: list[Coder] = [*choosers]
        if maps is not None:
            coders = [skipping(model, c, maps[t], planes[0], layers) for c, t in zip(choosers, batch, strict=True)]
        model.code_tiles(coders, planes, layers)
        for t, coder, chosen in zip(batch, choosers, planes, strict=True):
            spent = [flat.reshape(shape) for flat, shape in zip(coder.spent, shapes[t], strict=True)]
            bits = np.array([of_plane.sum(dtype=np.float64) for of_plane in spent])
            found[t] = Choice(chosen, bits, coder.distances, coder.segments(), spent if itemised else [])

    for_each(choose, alike([(tuple(map(tuple, shape)), len(layers)) for shape in shapes]), model.workers())
    return [found[t] for t in range(len(shapes))]


class Chooser:
    """A coder of one tile that decides what is coded; it is told the frequencies in coding order, plane by plane."""

    encodes = True

    def __init__(
        self,
        measure: Distances,
        tile: int,
        shapes: Shapes,
        positions: Sequence[np.ndarray],
        order: Sequence[tuple[int, int, Split]],
        prices: np.ndarray,
        weights: Sequence[np.ndarray] | None,
        encoder: TileEncoder | None = None,
    ) -> None:
        self.measure, self.tile, self.positions = measure, tile, positions
        self.order = [part for part in order if len(positions[part[0]])]
        self.encoder = encoder
        self.prices, self.weights = prices, weights
        self.distances = np.zeros(len(positions))
        sizes = [math.prod(shape) for shape in shapes]
        self.spent = [np.zeros(size, np.float32) for size in sizes]
        """Bits of each index, by flat position."""
        self.done = 0
        """Positions of the first plane and part in `order` that are chosen."""
        self.chosen = [np.zeros(size, np.int64) for size in sizes]
        """Codes of each plane, by flat position."""
        self.high = [np.empty(len(p), np.int64) for p in positions]
        """High parts that are chosen, in coding order, of planes that are coded as two."""

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        self.code_rows(np.broadcast_to(np.asarray(table, np.float32), (len(symbols), len(table))), symbols)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        if not len(symbols):
            return
        s, part, split = self.order[0]
        here = slice(self.done, self.done + len(symbols))
        positions = self.positions[s][here]
        distances = self.measure(self.tile, s, positions, self.chosen)
        if split.low:
            distances = self._of_part(distances, part, split, self.high[s][here])
        price = self.prices[s]
        if self.weights is not None:
            price = price * self.weights[s].reshape(-1)[positions, None].astype(np.float32)
        # What the sum of a row costs is the same for all of its symbols.
        scores = distances if not np.any(price) else distances - price * _log2(rows)
        symbols[:] = scores.argmin(1)
        chosen = np.arange(len(symbols)), symbols
        self.spent[s][positions] += np.log2(rows.sum(1, dtype=np.float64)) - np.log2(rows[chosen].astype(np.float64))
        if part == len(split.sizes) - 1:
            self.distances[s] += distances[chosen].sum(dtype=np.float64)
            codes = symbols if not split.low else split.codes[self.high[s][here] * split.low + symbols]
            self.chosen[s][positions] = codes
        elif split.low:
            self.high[s][here] = symbols
        if self.encoder:
            self.encoder.code_rows(rows, symbols)
        self.done += len(symbols)
        if self.done == len(self.positions[s]):
            self.order, self.done = self.order[1:], 0

    @staticmethod
    def _of_part(distances: np.ndarray, part: int, split: Split, high: np.ndarray) -> np.ndarray:
        """Distances [n, K] of codes -> of high parts, the nearest code of each, or of low parts, given the high."""
        wide = np.full((len(distances), split.sizes[0] * split.low), np.inf, np.float32)
        wide[:, : len(split.rank)] = distances[:, split.codes]
        by_parts = wide.reshape(len(distances), split.sizes[0], split.low)
        return by_parts.min(2) if part == 0 else by_parts[np.arange(len(high)), high]

    def choose(self, options: int, decide: Callable[[], int]) -> int:
        self.spent[self.order[0][0]][:1] += np.log2(options)
        return self.encoder.choose(options, decide) if self.encoder else decide()

    def end_layer(self) -> None:
        """What is worth a bit is the same in every layer."""
        if self.encoder:
            self.encoder.end_layer()

    def segments(self) -> list[bytes]:
        """What has been chosen, coded; empty without an encoder."""
        return self.encoder.segments() if self.encoder else []


def _log2(rows: np.ndarray) -> np.ndarray:
    """float32, several times as fast with torch."""
    if not torch_is_loaded():
        return np.log2(rows)
    import torch

    return torch.from_numpy(np.ascontiguousarray(rows)).log2().numpy()
