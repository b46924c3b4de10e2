"""Rectangles and the two tilings of a picture: access tiles (file format) and compute windows (implementation).

Access tiles partition the token grid; each is one coder stream. A compute window is one input of the network: an inner
rectangle plus a halo whose output is discarded, so that every step of the inner part has the same receptive field as in
the whole picture.

    |<---------------- outer ---------------->|     at a picture's border the halo ends there,
    | halo |          inner            | halo |     exactly where the whole picture would end
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Rect:
    """Rows y0..y1 and columns x0..x1 (end exclusive), in pixels or token steps."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns), an index into arrays [H, W, ...]."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in steps of the grid."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def area(self) -> int:
        """Number of pixels or token steps."""
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    def grow(self, margin: int, within: tuple[int, int]) -> Rect:
        """This rectangle extended by `margin` on all four sides, clipped to a grid of `within` (h, w) steps."""
        h, w = within
        return Rect(
            max(self.y0 - margin, 0), min(self.y1 + margin, h), max(self.x0 - margin, 0), min(self.x1 + margin, w)
        )

    def inside(self, outer: Rect) -> Rect:
        """This rectangle in the coordinates of `outer`."""
        return Rect(self.y0 - outer.y0, self.y1 - outer.y0, self.x0 - outer.x0, self.x1 - outer.x0)

    def times(self, factor: int) -> Rect:
        """This rectangle with coordinates multiplied by `factor`: token steps -> pixels for the stride."""
        return Rect(self.y0 * factor, self.y1 * factor, self.x0 * factor, self.x1 * factor)


@dataclass(frozen=True)
class Window:
    """Compute window: `outer` is the input of the network, `inner` the part of the output that is kept."""

    inner: Rect
    outer: Rect


def split(area: Rect, side_steps: int) -> Iterator[Rect]:
    """Partition `area` into tiles of at most `side_steps` x `side_steps`, row by row.

    Tiles are cut at multiples of `side_steps`, counted from the origin of the grid.
    """
    for y in range(area.y0 // side_steps * side_steps, area.y1, side_steps):
        for x in range(area.x0 // side_steps * side_steps, area.x1, side_steps):
            yield Rect(max(y, area.y0), min(y + side_steps, area.y1), max(x, area.x0), min(x + side_steps, area.x1))


def windows(area: Rect, grid: tuple[int, int], side_steps: int, halo: int) -> Iterator[Window]:
    """Compute windows over `area` of a grid (h, w), all with inputs of one shape: networks are compiled for a shape.

    Inner parts partition the area and have at most `side_steps` squared positions each, inputs at most the square of
    `side_steps` and twice the halo. Inputs hold `halo` steps around them; at the border of the grid they are shifted
    inwards, so that they hold more on the other side.
    Among the numbers of rows and columns of windows, those with the smallest inputs in all are taken.
    """
    (h, w), most = area.shape, max(side_steps, 1) ** 2
    largest = (max(side_steps, 1) + 2 * halo) ** 2
    options = []
    for across in range(1, -(-h // max(side_steps, 1)) + 1):
        height = -(-h // across)
        wide = largest // min(height + 2 * halo, grid[0])
        widest = w if wide >= grid[1] else wide - 2 * halo
        if height > most or widest < 1:
            continue
        along = -(-w // max(min(most // height, widest), 1))
        rows = _spans(area.y0, area.y1, across, halo, grid[0])
        columns = _spans(area.x0, area.x1, along, halo, grid[1])
        inputs = across * along * (rows[0][1][1] - rows[0][1][0]) * (columns[0][1][1] - columns[0][1][0])
        options.append((inputs, rows, columns))
    _, rows, columns = min(options)
    for inner_rows, outer_rows in rows:
        for inner_columns, outer_columns in columns:
            yield Window(Rect(*inner_rows, *inner_columns), Rect(*outer_rows, *outer_columns))


def _spans(start: int, end: int, count: int, halo: int, length: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Inner and outer parts of `count` windows along an axis of `length` steps."""
    cuts = [start + (end - start) * i // count for i in range(count + 1)]
    needed = [(max(a - halo, 0), min(b + halo, length)) for a, b in pairwise(cuts)]
    outer = max(b - a for a, b in needed)
    firsts = [min(a, length - outer) for a, _ in needed]
    return [(inner, (first, first + outer)) for inner, first in zip(pairwise(cuts), firsts, strict=True)]


def grid_size(width: int, height: int, stride: int) -> tuple[int, int]:
    """(h, w) of the token grid of a picture; the last row and column may extend beyond the picture."""
    return -(-height // stride), -(-width // stride)


def read_padded(pixels: np.ndarray, rect: Rect) -> np.ndarray:
    """Pixels of `rect` from [H, W, 3]; the last row and column are repeated beyond the lower and right border."""
    part = pixels[rect.y0 : min(rect.y1, pixels.shape[0]), rect.x0 : min(rect.x1, pixels.shape[1])]
    missing = (rect.y1 - rect.y0 - part.shape[0], rect.x1 - rect.x0 - part.shape[1])
    if missing == (0, 0):
        return part
    return np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
