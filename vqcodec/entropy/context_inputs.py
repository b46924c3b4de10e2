"""Inputs of the context networks: embeddings of the coded symbols around a position.

For a position of symbol plane s, in this order: 3x3 positions of the nearest planes before it, the position itself in
planes further back, and the 5x5 positions around it in its own plane, on the grid that is being coded. A symbol not yet
coded and a position outside the tile have embeddings of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from .index_order import Pass

EMBEDDING = 8
"""Values of the embedding of a symbol."""
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
"""Offsets (dy, dx) of inputs from earlier planes."""
OWN = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
"""Offsets (dy, dx) of inputs from the plane itself."""
REACH = 2
"""Positions of a grid to each side that OWN reaches."""
STRIP = 2**10
"""Positions whose frequencies are computed together; bounds memory and changes no frequency."""


Shape = tuple[int, int]
"""Rows and columns of a plane."""


def margin_of(grids: int) -> int:
    """Positions around a plane of `grids` grids that stand for the outside of the tile."""
    return REACH << (grids - 1)


def inputs_of(s: int, near: int, spacing: int) -> np.ndarray:
    """(plane, dy, dx) of the inputs of plane s in a grid of `spacing`, in order: int64 [inputs, 3], kept in memory."""
    return _kept_inputs(s, min(near, s), spacing)


@lru_cache(maxsize=1024)
def _kept_inputs(s: int, near: int, spacing: int) -> np.ndarray:
    inputs = np.array(inputs_from_earlier(s, near) + own_inputs(s, spacing), np.int64)
    inputs.setflags(write=False)
    return inputs


def inputs_from_earlier(s: int, near: int) -> list[tuple[int, int, int]]:
    """(plane, dy, dx) of the inputs of plane s from earlier planes, in order; `near` as in `ContextModel`."""
    first = max(0, s - near)
    return [(t, dy, dx) for dy, dx in NEIGHBOURS for t in range(first, s)] + [(t, 0, 0) for t in range(first)]


def own_inputs(s: int, spacing: int) -> list[tuple[int, int, int]]:
    """(plane, dy, dx) of the inputs of plane s from the plane itself, in a grid of `spacing`."""
    return [(s, dy * spacing, dx * spacing) for dy, dx in OWN]


@dataclass(frozen=True)
class Positions:
    """Positions of one pass over a plane in all tiles, one tile after another, each in coding order."""

    places: list[np.ndarray]
    """For the plane and each one before it: flat int64 [positions] from the start of that plane's tiles."""
    ends: list[int]
    """For each tile, the number of positions up to its last one."""

    def strips(self) -> Iterator[tuple[slice, list[tuple[int, slice]]]]:
        """Strips of at most STRIP positions, and (tile, its positions) of each tile that has some there."""
        for start in range(0, self.ends[-1], STRIP):
            end = min(start + STRIP, self.ends[-1])
            cut = [slice(max(a, start), min(b, end)) for a, b in pairwise([0, *self.ends])]
            yield slice(start, end), [(tile, part) for tile, part in enumerate(cut) if part.start < part.stop]


class KnownEmbeddings:
    """Embeddings of the coded symbols of tiles, plane by plane: 8 int8 in an int64 for each position.

    `shapes` are those of the planes of each tile, (h, w) each. Every plane has room for the largest tile and a margin;
    what a smaller tile leaves is outside of it.
    """

    def __init__(self, shapes: Sequence[Sequence[Shape]], grids: int = 1) -> None:
        self.shapes, self.margin = shapes, margin_of(grids)
        self.padded = [with_margins([tile[s] for tile in shapes], grids) for s in range(len(shapes[0]))]
        self.starts = np.cumsum([0, *(len(shapes) * h * w for h, w in self.padded)], dtype=np.int64)
        self.widths = np.array([w for _, w in self.padded], np.int64)
        self.flat = np.empty(self.starts[-1], np.int64)
        self.is_even = all(len(set(tile)) == 1 for tile in shapes)
        """True where all planes of a tile have one shape, so that positions are those of every plane."""
        self._kept: dict[tuple[object, object, Pass], tuple[np.ndarray, list[int]]] = {}
        """Results of `_placed` by the shapes of both planes; those of the plane in work, where they differ."""

    def start(self, s: int, unknown: np.int64, outside: np.int64) -> None:
        """Fill plane s with the embedding of unknown symbols, what is outside of the tiles with that of the outside."""
        if not self.is_even:
            self._kept.clear()
        of_plane, m = self.flat[self.starts[s] : self.starts[s + 1]], self.margin
        of_plane[:] = outside
        for tile, (h, w) in zip(of_plane.reshape(-1, *self.padded[s]), self._shapes_of(s), strict=True):
            tile[m : m + h, m : m + w] = unknown

    def add(self, s: int, positions: Positions, embedded: np.ndarray) -> None:
        """Set the embeddings int64 [positions] of plane s."""
        self.flat[self.starts[s] : self.starts[s + 1]][positions.places[s]] = embedded

    def positions(self, s: int, of_pass: Pass) -> Positions:
        """The positions of a pass over plane s."""
        if self.is_even:
            places, ends = self._placed(0, 0, of_pass)
            return Positions([places] * (s + 1), ends)
        placed = [self._placed(s, t, of_pass) for t in range(s + 1)]
        return Positions([places for places, _ in placed], placed[0][1])

    def surroundings(self, positions: Positions, strip: slice, wanted: np.ndarray) -> np.ndarray:
        """Inputs `wanted` [inputs, 3], (plane, dy, dx) each, of the positions of a strip: int8 [positions, inputs * 8].

        In a plane of another shape the position is that of the same relative place in the tile.
        """
        planes, dy, dx = wanted.T
        offsets = self.starts[planes] + dy * self.widths[planes] + dx
        if self.is_even:
            index = positions.places[0][strip, None] + offsets
        else:
            index = np.empty((strip.stop - strip.start, len(wanted)), np.int64)
            for t in np.unique(planes):
                here = planes == t
                index[:, here] = positions.places[t][strip, None] + offsets[here]
        return self.flat.take(index).view(np.int8)

    def _shapes_of(self, s: int) -> list[Shape]:
        return [tile[s] for tile in self.shapes]

    def _placed(self, s: int, t: int, of_pass: Pass) -> tuple[np.ndarray, list[int]]:
        """Places in plane t of the positions of a pass over plane s, and the ends of the tiles among them."""
        key = tuple(self._shapes_of(s)), tuple(self._shapes_of(t)), of_pass
        if key not in self._kept:
            self._kept[key] = self._place(s, t, of_pass)
        return self._kept[key]

    def _place(self, s: int, t: int, of_pass: Pass) -> tuple[np.ndarray, list[int]]:
        (height, width), m = self.padded[t], self.margin
        placed = []
        for tile, ((h, w), (h_t, w_t)) in enumerate(zip(self._shapes_of(s), self._shapes_of(t), strict=True)):
            ys, xs = of_pass.positions
            rows, columns = (np.arange(n, dtype=np.int64)[part] for n, part in ((h, ys), (w, xs)))
            rows, columns = rows * h_t // h, columns * w_t // w
            placed.append(np.ravel((tile * height + rows + m)[:, None] * width + (columns + m)))
        return np.concatenate(placed), np.cumsum([len(places) for places in placed]).tolist()


def with_margins(shapes: Sequence[Shape], grids: int) -> Shape:
    """Rows and columns of the smallest plane with room for each of `shapes` and its margin."""
    margins = 2 * margin_of(grids)
    return max(h for h, _ in shapes) + margins, max(w for _, w in shapes) + margins
