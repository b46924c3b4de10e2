r"""Overlapping windows: their positions along a side of a picture, their weights, and their weighted sum.

share 1 |____________      ____________      a window has full weight in its middle and fades linearly over its
        |            \    /                  overlap with the next one; the shares sum to 1 at every position, also
        |             \  /                   at the border of the picture, which a single window covers
        |      i       \/      i + 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.rectangles import Rect

HALF_RANGE = 127.5
"""8-bit levels per unit of the networks' pixel scale, -1..1."""
Span = tuple[int, int]
"""Start and end (exclusive) along one axis of a picture, in pixels or token steps."""


@dataclass(frozen=True)
class Axis:
    """Windows along one axis of a picture, in ascending order."""

    spans: Sequence[Span]
    shares: Sequence[np.ndarray]
    """Weight of each window at each position of its span, 0..1, float32."""

    def touching(self, start: int, end: int) -> list[int]:
        """Indices of the windows that intersect start..end (end exclusive)."""
        return [i for i, (a, b) in enumerate(self.spans) if a < end and b > start]


def equal_spans(length: int, longest: int, overlap: int) -> list[Span]:
    """The fewest windows of equal size that cover `length`; a single window where `length` <= `longest`.

    Args:
        length: length of the axis, at least 1.
        longest: largest length of a window, in the same unit.
        overlap: least overlap of neighbouring windows, 0..longest / 2.
    """
    if length <= longest:
        return [(0, length)]
    count = -(-(length - overlap) // (longest - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    return [(start, start + size) for start in starts]


def axis_of(spans: Sequence[Span], overlap: int) -> Axis:
    """Axis of windows that fade linearly over `overlap`; weights are normalised to sum to 1 at every position."""
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
    """Weighted sum of windows over `area`, yielded as bands of whole rows: (rectangle of the band, float32 [C, h, W]).

    `make(i, numbers)` returns the windows [C, h, w] at row i of the windows and at each of the columns `numbers`, in
    order. A band ends where the next row of windows starts: its sum is complete there, and memory holds at most one row
    of windows.
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


def bands_to_pixels(bands: Iterable[tuple[Rect, np.ndarray]], region: Rect) -> np.ndarray:
    """Bands float32 [3, h, W] in -1..1 that partition `region` -> pixels uint8 [H, W, 3], the nearest levels."""
    pixels = np.empty((*region.shape, 3), np.uint8)
    for place, band in bands:
        levels = (band.clip(-1, 1) + 1) * np.float32(HALF_RANGE)
        pixels[place.inside(region).slices] = levels.round().astype(np.uint8).transpose(1, 2, 0)
    return pixels


def _grown(band: np.ndarray | None, channels: int, height: int, width: int) -> np.ndarray:
    """`band` extended by rows of zeros to `height`."""
    if band is not None and band.shape[1] >= height:
        return band
    grown = np.zeros((channels, height, width), np.float32)
    if band is not None:
        grown[:, : band.shape[1]] = band
    return grown


def inner_spans(spans: Sequence[Span]) -> list[Span]:
    """Partition of the axis into one span for each window, cut in the middle of the overlaps."""
    cuts = [(before[1] + after[0]) // 2 for before, after in zip(spans, spans[1:], strict=False)]
    return list(zip([spans[0][0], *cuts], [*cuts, spans[-1][1]], strict=True))
