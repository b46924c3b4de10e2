"""Inputs of the context networks: embeddings of the coded symbols around a position.

For a position of symbol plane s, in this order: 3x3 positions of the nearest planes before it, the position itself in
planes further back, and the 5x5 positions around it in its own plane, on the grid that is being coded. A symbol not yet
coded and a position outside the tile have embeddings of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
"""Positions whose frequencies are computed together; bounds memory and changes no byte."""


def margin_of(grids: int) -> int:
    """Positions around a plane of `grids` grids that stand for the outside of the tile."""
    return REACH << (grids - 1)


Strip = tuple[slice, slice]
"""Rows and columns of some positions of one pass."""


def inputs_from_earlier(s: int, near: int) -> list[tuple[int, int, int]]:
    """(plane, dy, dx) of the inputs of plane s from earlier planes, in order; `near` as in `ContextModel`."""
    first = max(0, s - near)
    return [(t, dy, dx) for dy, dx in NEIGHBOURS for t in range(first, s)] + [(t, 0, 0) for t in range(first)]


def own_inputs(s: int, spacing: int) -> list[tuple[int, int, int]]:
    """(plane, dy, dx) of the inputs of plane s from the plane itself, in a grid of `spacing`."""
    return [(s, dy * spacing, dx * spacing) for dy, dx in OWN]


class KnownEmbeddings:
    """Embeddings of the coded symbols of n tiles, plane by plane: 8 int8 in an int64 for each position."""

    def __init__(self, n: int, shapes: Sequence[tuple[int, ...]], grids: int = 1) -> None:
        self.n, self.shapes = n, [(shape[0], shape[1]) for shape in shapes]
        self.margin = margin_of(grids)
        self.padded = [(h + 2 * self.margin, w + 2 * self.margin) for h, w in self.shapes]
        self.starts = np.cumsum([0, *(n * h * w for h, w in self.padded)]).tolist()
        self.flat = np.empty(self.starts[-1], np.int64)

    def start(self, s: int, unknown: np.int64, outside: np.int64) -> None:
        """Fill plane s with the embedding of unknown symbols, its margin with that of the outside."""
        self.flat[self.starts[s] : self.starts[s + 1]] = outside
        self.inside(s)[...] = unknown

    def inside(self, s: int) -> np.ndarray:
        """Plane s without its margin, [n, h, w]."""
        whole = self.flat[self.starts[s] : self.starts[s + 1]].reshape(self.n, *self.padded[s])
        return whole[:, self.margin : -self.margin, self.margin : -self.margin]

    def surroundings(self, s: int, strip: Strip, wanted: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """Inputs `wanted`, (plane, dy, dx) each, of the positions of a strip: int8 [positions, len(wanted) * 8].

        In a plane of another shape the position is that of the same relative place in the tile.
        """
        (h, w), (ys, xs) = self.shapes[s], strip
        rows, columns = np.arange(h)[ys], np.arange(w)[xs]
        offsets = np.array([self.starts[t] + dy * self.padded[t][1] + dx for t, dy, dx in wanted])
        if all(shape == (h, w) for shape in self.shapes[:s]):
            index = self._places(s, rows, columns)[:, None] + offsets
        else:
            index = np.empty((self.n * len(rows) * len(columns), len(wanted)), np.int64)
            for t in {t for t, _, _ in wanted}:
                (height, width), here = self.shapes[t], [i for i, (plane, _, _) in enumerate(wanted) if plane == t]
                places = self._places(t, rows * height // h, columns * width // w)
                index[:, here] = places[:, None] + offsets[here]
        return self.flat.take(index).view(np.int8)

    def _places(self, t: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Flat offsets [positions] of rows and columns of plane t of each tile, from the start of the plane."""
        height, width = self.padded[t]
        tiles = np.arange(self.n) * (height * width)
        return np.ravel(tiles[:, None, None] + ((rows + self.margin) * width)[:, None] + (columns + self.margin))


def strips(shape: tuple[int, int], of_pass: Pass, n_tiles: int) -> Iterator[Strip]:
    """The positions of a pass in coding order, at most STRIP of all tiles together, at least one of each."""
    (h, w), step = shape, 2 * of_pass.spacing
    columns = max(1, min(len(range(of_pass.x, w, step)), STRIP // n_tiles))
    rows = max(1, STRIP // n_tiles // columns)
    for top in range(of_pass.y, h, step * rows):
        for left in range(of_pass.x, w, step * columns):
            yield slice(top, min(top + step * rows, h), step), slice(left, min(left + step * columns, w), step)
