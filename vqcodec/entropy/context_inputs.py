"""Inputs of the context networks: embeddings of the coded symbols around a position.

For a position of symbol plane s, in this order: 3x3 positions of the nearest planes before it, the position itself in
planes further back, and the 5x5 positions around it in its own plane. A symbol not yet coded and a position outside the
tile have embeddings of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

EMBEDDING = 8
"""Values of the embedding of a symbol."""
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
"""Offsets (dy, dx) of inputs from earlier planes."""
OWN = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
"""Offsets (dy, dx) of inputs from the plane itself."""
MARGIN = 2
"""Positions around a plane that stand for the outside of the tile."""
STRIP = 2**10
"""Positions whose frequencies are computed together; bounds memory and changes no byte."""

Strip = tuple[slice, slice]
"""Rows and columns of some positions of one pass: every second one."""


def inputs_from_earlier(s: int, near: int) -> list[tuple[int, int, int]]:
    """(plane, dy, dx) of the inputs of plane s from earlier planes, in order; `near` as in `ContextModel`."""
    first = max(0, s - near)
    return [(t, dy, dx) for dy, dx in NEIGHBOURS for t in range(first, s)] + [(t, 0, 0) for t in range(first)]


class KnownEmbeddings:
    """Embeddings of the coded symbols of n tiles, plane by plane: 8 int8 in an int64 for each position."""

    def __init__(self, n: int, shapes: Sequence[tuple[int, ...]]) -> None:
        self.n, self.shapes = n, [(shape[0], shape[1]) for shape in shapes]
        self.padded = [(h + 2 * MARGIN, w + 2 * MARGIN) for h, w in self.shapes]
        self.starts = np.cumsum([0, *(n * h * w for h, w in self.padded)]).tolist()
        self.flat = np.empty(self.starts[-1], np.int64)

    def start(self, s: int, unknown: np.int64, outside: np.int64) -> None:
        """Fill plane s with the embedding of unknown symbols, its margin with that of the outside."""
        self.flat[self.starts[s] : self.starts[s + 1]] = outside
        self.inside(s)[...] = unknown

    def inside(self, s: int) -> np.ndarray:
        """Plane s without its margin, [n, h, w]."""
        whole = self.flat[self.starts[s] : self.starts[s + 1]].reshape(self.n, *self.padded[s])
        return whole[:, MARGIN:-MARGIN, MARGIN:-MARGIN]

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
        return np.ravel(tiles[:, None, None] + ((rows + MARGIN) * width)[:, None] + (columns + MARGIN))


def strips(h: int, w: int, y: int, x: int, n_tiles: int) -> Iterator[Strip]:
    """The positions of pass (y, x) in coding order, at most STRIP of all tiles together, at least one of each."""
    columns = max(1, min(len(range(x, w, 2)), STRIP // n_tiles))
    rows = max(1, STRIP // n_tiles // columns)
    for top in range(y, h, 2 * rows):
        for left in range(x, w, 2 * columns):
            yield slice(top, min(top + 2 * rows - 1, h), 2), slice(left, min(left + 2 * columns - 1, w), 2)
