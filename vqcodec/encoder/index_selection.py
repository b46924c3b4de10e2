"""Rate-distortion selection of indices under the entropy model that codes them.

Position by position, in coding order, the selected index i of plane s minimises

    |z - c_i|^2 + w_s * bits(i)        bits(i) = log2(sum of frequencies / frequency of i)

where z is the latent, c_i the codeword, w_s the squared distance that balances one bit (lmbda times the plane's
weight), and the frequencies are those that the model gives after the indices already selected. This is
entropy-constrained vector quantization (Chou, Lookabaugh and Gray 1989), greedy: the effect of an index on the bits of
later ones is not counted.

A `SelectingCoder` takes the place of a decoder: where a decoder would write the symbol read from the stream, it writes
the symbol of least cost. The model therefore runs the same code as in coding. Only encoders select, so floating-point
rounding here cannot affect decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..entropy.alphabet_split import AlphabetSplit
from ..entropy.interface import EntropyModel
from ..entropy.layer_map import code_map, kept_layers
from ..entropy.rans import Coder, TileEncoder, all_ones
from ..entropy.tile_segments import batches, with_map
from ..entropy.workers import for_each
from ..planes import Layers, Maps, Planes, Shapes, indices_in
from ..runtime.progress import Part, working

PlaneDistances = Callable[[np.ndarray], np.ndarray]
"""Flat positions int64 [n] -> squared distances float32 [n, K] of the latent from each codeword of a plane."""
Distances = Callable[[int, int, Sequence[np.ndarray]], PlaneDistances]
"""(tile, plane, indices of the tile's planes [positions], final for those before this plane) -> its distances."""


@dataclass(frozen=True)
class Selection:
    """Indices selected for a tile."""

    planes: Planes
    """int32, of the shapes asked for; MISSING where the tile's map leaves layers out."""
    bits: list[np.ndarray]
    """float32 of the planes' shapes: bits of each index under the model's frequencies."""
    distances: np.ndarray
    """float64 [planes], squared distances summed over the positions."""
    segments: list[bytes]
    """One for each layer, as `encode_tiles` makes them of the planes; empty without `coded`."""

    @property
    def plane_bits(self) -> np.ndarray:
        """float64 [planes]: bits of each plane, without the end of the stream."""
        return np.array([plane.sum(dtype=np.float64) for plane in self.bits])


def select_indices(
    model: EntropyModel,
    distances: Distances,
    distance_per_bit: np.ndarray,
    shapes: Sequence[Shapes],
    layers: Layers,
    coded: bool = False,
    maps: Maps | None = None,
) -> list[Selection]:
    """Select the planes of `layers` of tiles with planes of `shapes`; the other planes are 0.

    Args:
        model: entropy model that the bits are counted under.
        distances: may be called from several threads.
        distance_per_bit: [planes] or [tiles, planes], at least 0; 0 selects the nearest codeword.
        shapes: (h, w) of each plane, for each tile.
        layers: planes of each layer that is selected, coarse to fine.
        coded: also encode the selection, in the same pass.
        maps: layers kept in each block of each tile (entropy/layer_map.py), default all.
    """
    weights = np.broadcast_to(np.asarray(distance_per_bit, np.float32), (len(shapes), len(model.sizes)))
    selections: dict[int, Selection] = {}

    def select(batch: list[int]) -> None:
        planes = [[np.zeros(shape, np.int32) for shape in shapes[t]] for t in batch]
        selecting = []
        for t in batch:
            kept = None if maps is None else maps[t]
            encoder = TileEncoder() if coded else None
            if encoder and kept is not None:
                code_map(encoder, np.array(kept))
            order = coding_order(model, shapes[t], layers, kept)
            selecting.append(SelectingCoder(distances, t, shapes[t], order, weights[t], encoder))
        coders: list[Coder] = [*selecting]
        if maps is not None:
            coders = [
                with_map(model, coder, maps[t], of_tile, layers)
                for coder, t, of_tile in zip(selecting, batch, planes, strict=True)
            ]
        with working(Part.SELECTION, indices_in([shapes[t] for t in batch], layers)):
            model.code_tiles(coders, planes, layers)
        for t, coder, selected in zip(batch, selecting, planes, strict=True):
            selections[t] = coder.selection(selected)

    sizes = [max(map(math.prod, of_tile)) for of_tile in shapes]
    for_each(select, batches(sizes, model.workers()), model.workers())
    return [selections[t] for t in range(len(shapes))]


@dataclass(frozen=True)
class SymbolPlane:
    """Symbols of an index plane in coding order: its whole indices, or the high or the low parts of them."""

    plane: int
    number: int
    """0 for whole indices and high parts, 1 for low parts."""
    split: AlphabetSplit
    positions: np.ndarray
    """Flat positions int64 [n]."""


def coding_order(model: EntropyModel, shapes: Shapes, layers: Layers, kept: np.ndarray | None) -> list[SymbolPlane]:
    """The symbol planes of `layers` of a tile that hold at least one position; `kept` is the tile's map of layers."""
    parts = []
    for k, layer in enumerate(layers):
        for s in layer:
            positions = model.order(tuple(shapes[s]))
            if kept is not None:
                positions = positions[kept_layers(kept, shapes[0]).reshape(-1)[positions] > k]
            split = model.split(s)
            if len(positions):
                parts += [SymbolPlane(s, number, split, positions) for number in range(len(split.sizes))]
    return parts


class SelectingCoder:
    """A coder of one tile that selects the symbols itself; the model passes it the frequencies in coding order."""

    encodes = True

    def __init__(
        self,
        measure: Distances,
        tile: int,
        shapes: Shapes,
        parts: list[SymbolPlane],
        distance_per_bit: np.ndarray,
        encoder: TileEncoder | None,
    ) -> None:
        self.measure, self.tile, self.shapes = measure, tile, shapes
        self.parts, self.done = parts, 0
        """Symbol planes still to be selected, and how many positions of the first one are."""
        self.measure_plane: PlaneDistances | None = None
        """Distances of the plane in work."""
        self.distance_per_bit, self.encoder = distance_per_bit, encoder
        sizes = [math.prod(shape) for shape in shapes]
        self.distances = np.zeros(len(shapes))
        self.bits = [np.zeros(size, np.float32) for size in sizes]
        self.selected = [np.zeros(size, np.int64) for size in sizes]
        """Indices of each plane by flat position."""
        self.high = np.empty(0, np.int64)
        """High parts of the plane in work, in coding order; only of planes that are coded as two."""

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Select `symbols` int32 [n] under one table of frequencies [K]."""
        self.code_rows(np.broadcast_to(np.asarray(table, np.float32), (len(symbols), len(table))), symbols)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Select `symbols` int32 [n], each of least distance + weight * bits under its row of frequencies [n, K]."""
        if not len(symbols):
            return
        part = self.parts[0]
        s, split, here = part.plane, part.split, slice(self.done, self.done + len(symbols))
        positions = part.positions[here]
        if self.measure_plane is None:
            self.measure_plane = self.measure(self.tile, s, self.selected)
        distances = self.measure_plane(positions)
        if split.low:
            distances = self._part_distances(distances, part, here)
        weight = self.distance_per_bit[s]
        # The logarithm of a row's sum is the same for all of its symbols.
        costs = distances
        if weight:
            costs = np.log2(rows)
            costs *= -weight
            costs += distances
        symbols[:] = costs.argmin(1)
        taken = np.arange(len(symbols)), symbols
        sums = rows @ all_ones(rows.shape[1])  # integers up to 2**24 are exact
        self.bits[s][positions] += np.log2(sums / rows[taken])
        if part.number == len(split.sizes) - 1:
            self.distances[s] += distances[taken].sum(dtype=np.float64)
            indices = split.by_rank[self.high[here] * split.low + symbols] if split.low else symbols
            self.selected[s][positions] = indices
        else:
            self.high[here] = symbols
        if self.encoder:
            self.encoder.code_rows(rows, symbols)
        self.done += len(symbols)
        if self.done == len(part.positions):
            self.parts, self.done = self.parts[1:], 0
            if part.number == len(split.sizes) - 1:
                self.measure_plane = None

    def _part_distances(self, distances: np.ndarray, part: SymbolPlane, here: slice) -> np.ndarray:
        """Distances of whole indices [n, K] -> distances of the symbols of `part`, its high or low parts.

        A high part has the distance of the nearest index that contains it. A low part has the distance of the index
        that it forms with the high part already selected; inf where there is no such index.
        """
        split, n = part.split, len(distances)
        by_rank = np.full((n, split.sizes[0] * split.low), np.inf, np.float32)
        by_rank[:, : len(split.rank)] = distances[:, split.by_rank]
        by_parts = by_rank.reshape(n, split.sizes[0], split.low)
        if part.number:
            return by_parts[np.arange(n), self.high[here]]
        if here.start == 0:
            self.high = np.empty(len(part.positions), np.int64)
        return by_parts.min(2)

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """Number 0..options - 1 from `decide`; its bits count towards the first position of the plane."""
        self.bits[self.parts[0].plane][:1] += np.log2(options)
        return self.encoder.code_choice(options, decide) if self.encoder else decide()

    def end_layer(self) -> None:
        """End the encoder's layer; the selection itself knows planes only."""
        if self.encoder:
            self.encoder.end_layer()

    def selection(self, planes: Planes) -> Selection:
        """The finished selection, as `planes`."""
        bits = [flat.reshape(shape) for flat, shape in zip(self.bits, self.shapes, strict=True)]
        return Selection(planes, bits, self.distances, self.encoder.segments() if self.encoder else [])
