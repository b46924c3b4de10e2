r"""Overlapping windows: their positions along a side of a picture, their weights, and their weighted sum.

share 1 |____________      ____________      each window counts in full in its middle and fades towards the next
        |            \    /                  one over their overlap; at every place the shares sum to 1, also at
        |             \  /                   the border of the picture, where there is but one window
        |      i       \/      i + 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.rectangles import Rect

Span = tuple[int, int]
"""Start and end (exclusive) along one side of a picture."""


@dataclass(frozen=True)
class Axis:
    """The windows along one side of a picture, first to last."""

    spans: Sequence[Span]
    shares: Sequence[np.ndarray]
    """Weights of each window at each place of its span, 0..1, float32."""

    def touching(self, start: int, end: int) -> list[int]:
        """Numbers of the windows that have a part of start..end."""
        return [i for i, (a, b) in enumerate(self.spans) if a < end and b > start]


def equal_spans(length: int, side: int, overlap: int) -> list[Span]:
    """Windows of equal size, as few as possible, that cover `length`; one window of `length` if that is enough.

    Each is at most `side` long and overlaps the next by at least `overlap`, at most side / 2.
    """
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    return [(start, start + size) for start in starts]


def axis_of(spans: Sequence[Span], overlap: int) -> Axis:
    """Windows that fade over `overlap` towards their ends; the share of each is its part of the sum of the weights."""
    weights = [_ramp(end - start, overlap) for start, end in spans]
    total = np.zeros(max(end for _, end in spans))
    for (start, end), weight in zip(spans, weights, strict=True):
        total[start:end] += weight
    shares = [
        (weight / total[start:end]).astype(np.float32) for (start, end), weight in zip(spans, weights, strict=True)
    ]
    return Axis(spans, shares)


def _ramp(length: int, overlap: int) -> np.ndarray:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    weight: np.ndarray = np.minimum(1, distance / overlap) if overlap else np.ones(length)
    return weight


def blended(
    area: Rect, rows: Axis, columns: Axis, make: Callable[[int, Sequence[int]], Iterable[np.ndarray]]
) -> Iterator[tuple[Rect, np.ndarray]]:
    """The weighted sum of windows over `area`, a band of whole rows after the other: (its place, float32 [C, h, W]).

    `make(i, numbers)` gives the windows [C, h, w] in row i of windows and in each of the columns `numbers`, in order.
    Only what lies above the next row of windows is given out, so that a band is complete and memory holds one row of
    windows at most.
    """
    numbers, across = columns.touching(area.x0, area.x1), rows.touching(area.y0, area.y1)
    top, band = area.y0, None
    for k, i in enumerate(across):
        y0, y1 = max(rows.spans[i][0], area.y0), min(rows.spans[i][1], area.y1)
        for j, part in zip(numbers, make(i, numbers), strict=True):
            band = _grown(band, len(part), y1 - top, area.x1 - area.x0)
            x0, x1 = max(columns.spans[j][0], area.x0), min(columns.spans[j][1], area.x1)
            down = slice(y0 - rows.spans[i][0], y1 - rows.spans[i][0])
            along = slice(x0 - columns.spans[j][0], x1 - columns.spans[j][0])
            share = rows.shares[i][down, None] * columns.shares[j][along]
            band[:, y0 - top : y1 - top, x0 - area.x0 : x1 - area.x0] += part[:, down, along] * share
        assert band is not None
        end = max(rows.spans[across[k + 1]][0], area.y0) if k + 1 < len(across) else area.y1
        yield Rect(top, end, area.x0, area.x1), band[:, : end - top]
        top, band = end, band[:, end - top :]


def _grown(band: np.ndarray | None, channels: int, height: int, width: int) -> np.ndarray:
    """`band` with rows of zeros below, up to `height`."""
    if band is not None and band.shape[1] >= height:
        return band
    grown = np.zeros((channels, height, width), np.float32)
    if band is not None:
        grown[:, : band.shape[1]] = band
    return grown


def inner_spans(spans: Sequence[Span]) -> list[Span]:
    """A partition of the side: each window's part up to the middle of its overlaps."""
    cuts = [(before[1] + after[0]) // 2 for before, after in zip(spans, spans[1:], strict=False)]
    return list(zip([spans[0][0], *cuts], [*cuts, spans[-1][1]], strict=True))
