"""Coding order of scalar planes: passes over a tile's grid, and the coded neighbours of each pass.

    pyramid        for wavelet coefficients: positions at multiples of 16, then level by level the three subbands, each
                   as a checkerboard, so that its second half has coded direct neighbours in the same subband
    checkerboard   two passes: half of the positions without coded neighbours, half with all direct neighbours coded

A pass has a kind, which fixes the offsets of the coded neighbours, and a level, log2 of the unit of these offsets.
Positions of one pass are not neighbours of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

LEVELS = 5
"""Levels of the pyramid: the coarsest positions are 2**(LEVELS - 1) apart."""
OFFSETS = tuple((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0))
"""Offsets (dy, dx) of neighbours, in units of 2**level positions."""
PYRAMID_KINDS = ("first", "row", "row2", "column", "column2", "diagonal", "diagonal2")
"""Kinds of passes of a pyramid: odd columns of even rows, even columns of odd rows, both odd; two halves of each."""
CHECKERBOARD_KINDS = ("first", "cross")
"""Kinds of passes of a checkerboard."""
_ANCHORS = {"diagonal": (-1, -1), "row": (0, -1), "column": (-1, 0)}
"""Offset of a coded neighbour that every position of a pass has, by kind."""


@dataclass(frozen=True)
class Pass:
    """Positions whose values are coded together."""

    kind: str
    level: int
    positions: np.ndarray
    """Flat positions int64 [N] in the plane."""
    neighbours: np.ndarray
    """Flat positions int64 [K, N] of the coded neighbours, in the order of `seen(kind)`."""


@cache
def seen(kind: str) -> tuple[tuple[int, int], ...]:
    """OFFSETS of the coded neighbours of a pass of `kind`."""
    return tuple(offset for offset in OFFSETS if _is_coded(kind, *offset))


def _is_coded(kind: str, dy: int, dx: int) -> bool:
    odd_y, odd_x = dy % 2 == 1, dx % 2 == 1
    if kind.endswith("2") and not odd_y and not odd_x:
        return abs(dy) + abs(dx) == 2  # first half of the same subband
    match kind.removesuffix("2"):
        case "row":  # coded: even rows and columns
            return odd_x and not odd_y
        case "column":  # those, and the subband of the rows
            return odd_y
        case "diagonal":  # all other positions
            return odd_y or odd_x
        case "cross":  # second half of a checkerboard
            return odd_y != odd_x
        case _:
            return False


@lru_cache(maxsize=16)
def passes(shape: tuple[int, int], pyramid: bool) -> tuple[Pass, ...]:
    """The passes over a grid of `shape` (h, w), in coding order; they hold each position once."""
    h, w = shape
    found = []
    if pyramid:
        top = 1 << (LEVELS - 1)
        found.append(_pass("first", LEVELS - 1, shape, _grid(shape, 0, 0, top)))
        for level in reversed(range(LEVELS - 1)):
            step = 1 << level
            for kind, y, x in (("row", 0, step), ("column", step, 0), ("diagonal", step, step)):
                places = _grid(shape, y, x, 2 * step)
                second = ((places // (2 * step)).sum(0) % 2).astype(bool)
                found.append(_pass(kind, level, shape, places[:, ~second]))
                found.append(_pass(f"{kind}2", level, shape, places[:, second]))
    else:
        for kind, y in (("first", 0), ("cross", 1)):
            halves = [_grid(shape, 0, y, 2), _grid(shape, 1, 1 - y, 2)]
            found.append(_pass(kind, 0, shape, np.concatenate(halves, 1)))
    return tuple(part for part in found if len(part.positions))


def _grid(shape: tuple[int, int], y: int, x: int, step: int) -> np.ndarray:
    """Rows and columns int64 [2, N] of every `step`-th position from (y, x) on."""
    rows, columns = np.meshgrid(np.arange(y, shape[0], step), np.arange(x, shape[1], step), indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()])


def _pass(kind: str, level: int, shape: tuple[int, int], places: np.ndarray) -> Pass:
    w, (rows, columns), step = shape[1], places, 1 << level
    neighbours = [_neighbour(kind, shape, rows, columns, dy * step, dx * step, step) for dy, dx in seen(kind)]
    # A grid of one position has no second half.
    together = np.array(neighbours, np.int64).reshape(len(neighbours), len(rows))
    return Pass(kind, level, rows * w + columns, together)


def _neighbour(
    kind: str, shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, dy: int, dx: int, step: int
) -> np.ndarray:
    """Flat positions of the neighbours at (dy, dx), mirrored at the position beyond the border.

    Mirroring keeps the parity of the offset, and with it that the neighbour is coded. Where the mirrored position is
    outside as well, the anchor takes its place.
    """
    h, w = shape
    y, x = rows + dy, columns + dx
    y = np.where((y < 0) | (y >= h), rows - dy, y)
    x = np.where((x < 0) | (x >= w), columns - dx, x)
    outside = (y < 0) | (y >= h) | (x < 0) | (x >= w)
    if kind == "cross":
        across = np.where(columns > 0, columns - 1, np.minimum(columns + 1, w - 1))
        above = np.where(rows > 0, rows - 1, np.minimum(rows + 1, h - 1))
        anchor = np.where(across != columns, rows * w + across, above * w + columns)
    else:
        anchor_y, anchor_x = _ANCHORS[kind.removesuffix("2")]
        anchor = (rows + anchor_y * step) * w + columns + anchor_x * step
    found: np.ndarray = np.where(outside, anchor, y * w + x)
    return found
