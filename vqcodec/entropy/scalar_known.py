"""Coded values of a tile, band by band, and the inputs of the scalar context network from them.

All bands lie in one array, each with a border of zeros. The bands of a level have rows of the same length, so positions
of a pass are indices that serve all bands of the level, at a distance for each input. A cell holds a value and its
`log_size`, so that each input is read once.

Most values are 0, and so are all inputs of most positions, which the network need not look at. `active` finds the
others by dilation of the masks of values other than 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..config.quantizers import LARGEST
from .scalar_lowpass import FRACTION, add_level, in_steps
from .scalar_order import AROUND, DETAILS, PARITIES, RADIUS, Band, Input, LayerBands, Pass, grouped_inputs

MOST = 127
"""Largest absolute value of inputs and activations of the network."""
SIZE = 1 / 512
"""Unit of the size in a cell, below that of the value: the sum of both is exact in float32."""


def log_size(values: np.ndarray) -> np.ndarray:
    """round(18 log2(1 + |v|)), at most 127, of integer values: float32."""
    table = _log_table()
    found: np.ndarray = table[np.minimum(np.abs(values), len(table) - 1).astype(np.int64)]
    return found


@cache
def _log_table() -> np.ndarray:
    """`log_size` of 0, 1, ...; made at the first use."""
    table: np.ndarray = np.minimum(np.round(18 * np.log2(1 + np.arange(2 * LARGEST + 1))), MOST).astype(np.float32)
    return table


@cache
def _cell_table() -> np.ndarray:
    """Cells float32 of the values -LARGEST..LARGEST."""
    values = np.arange(-LARGEST, LARGEST + 1, dtype=np.float32)
    return values + log_size(values) * np.float32(SIZE)


@dataclass(frozen=True)
class Grid:
    """Layout of the bands of a level: that of its largest band, with a border."""

    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns with the border."""
        return self.rows + 2 * RADIUS + 1, self.columns + 2 * RADIUS + 1

    @property
    def pitch(self) -> int:
        """Distance of rows."""
        return self.shape[1]

    @property
    def size(self) -> int:
        """Cells of a band."""
        return self.shape[0] * self.shape[1]

    @property
    def first(self) -> int:
        """Index of the position (0, 0) in a band."""
        return RADIUS * self.pitch + RADIUS


@cache
def _grouped_offsets(colour: int, name: str, number: int) -> tuple[tuple[Input, np.ndarray, np.ndarray], ...]:
    """For each group of inputs the first one, and the offsets of all from RADIUS rows and columns before a position."""
    found = []
    for group in grouped_inputs(colour, name, number):
        dy, dx = (np.array([getattr(source, axis) for source in group]) for axis in ("dy", "dx"))
        found.append((group[0], dy + RADIUS, dx + RADIUS))
    return tuple(found)


class KnownValues:
    """Coded values of a tile of `shape` positions with planes of `layers`."""

    def __init__(self, layers: Sequence[LayerBands], shape: tuple[int, int]) -> None:
        self.shape = shape
        self.mode = 0
        """Mode of the previous layer, see scalar_context.py."""
        self.bands: dict[Band, tuple[int, int]] = {}
        """Rows and columns of each band."""
        for layer in layers:
            self.bands |= layer.shapes(shape)
        self._grids: dict[int, Grid] = {}
        for level in {band.level for band in self.bands}:
            sizes = [size for band, size in self.bands.items() if band.level == level]
            self._grids[level] = Grid(max(rows for rows, _ in sizes), max(columns for _, columns in sizes))
        # Inputs beyond the coarsest level come from one more, whose values stay 0.
        coarsest = max(self._grids)
        beyond = self._grids[coarsest]
        self._grids[coarsest + 1] = beyond = Grid((beyond.rows + 1) // 2, (beyond.columns + 1) // 2)
        self._starts: dict[Band, int] = {}
        end = beyond.size
        for band in self.bands:
            self._starts[band] = end
            end += self._grids[band.level].size
        self._cells = np.zeros(end, np.float32)
        self._used = np.zeros(end, bool)
        """True where a value is not 0."""
        self._filled: set[Band] = set()
        """Bands with such values."""
        self._nearby: dict[Band | tuple[int, int], np.ndarray | None] = {}
        self._lowpass: dict[int, tuple[int, np.ndarray]] = {}
        """Level and low-pass picture of each colour, see `lowpass`."""
        self._canvas: tuple[int, int, np.ndarray] = (-1, -1, np.zeros(0, np.float32))
        """Colour, level, and low-pass picture in whole steps with a border, flattened."""

    def begin_layer(self, layer: LayerBands) -> None:
        """Set the values of a layer to 0."""
        for band in self._filled.intersection(layer.shapes(self.shape)):
            for whole in (self._cells, self._used):
                self._whole(whole, band)[...] = 0
            self._filled.remove(band)
        self._nearby.clear()
        self._canvas = (-1, -1, np.zeros(0, np.float32))
        for colour in layer.colours:
            if colour in self._lowpass and (layer.low or self._lowpass[colour][0] < layer.level_numbers[0]):
                del self._lowpass[colour]

    def fill(self, part: Pass, values: np.ndarray) -> None:
        """Set the values int32 [rows, columns] of a pass, which are 0 so far."""
        flat = values.reshape(-1)
        at = np.flatnonzero(flat != 0)
        if len(at):
            row, column = np.divmod(at, values.shape[1])
            py, px = PARITIES[part.number]
            grid = self._grids[part.band.level]
            here = (2 * row + py) * grid.pitch + 2 * column + (px + grid.first + self._starts[part.band])
            self._cells[here] = _cell_table().take(flat[at] + LARGEST)
            self._used[here] = True
            self._filled.add(part.band)

    def put(self, band: Band, values: np.ndarray) -> None:
        """Set the values int32 [rows, columns] of a band, which are 0 so far."""
        for part in (Pass(band, number) for number in range(len(PARITIES))):
            self.fill(part, np.ascontiguousarray(part.of(values)))

    def positions(self, part: Pass) -> tuple[int, int]:
        """Rows and columns of the positions of a pass."""
        rows, columns = self.bands[part.band]
        py, px = PARITIES[part.number]
        return (rows - py + 1) // 2, (columns - px + 1) // 2

    def gather(self, part: Pass, at: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> None:
        """Inputs of a pass at positions int64 [n], counted row by row.

        Args:
            part: the pass.
            at: the positions.
            values: float32 [F, n] or [F + 8, n]; set to values, followed by slopes: differences in whole steps between
                the low-pass picture around a position, AROUND, and at it.
            sizes: float32 [F, n]; set to the sizes of the values, times SIZE.
        """
        band, (py, px) = part.band, PARITIES[part.number]
        pitch, coarser = self._grids[band.level].pitch, self._grids[band.level + 1].pitch
        row, column = np.divmod(at, self.positions(part)[1])
        above = row * coarser + column
        here = (2 * pitch) * row + (2 * column + (py * pitch + px))
        start = 0
        for source, dy, dx in _grouped_offsets(band.colour, band.name, part.number):
            distances = dy * (coarser if source.up else pitch) + dx + self._starts.get(source.band_of(band), 0)
            for line, distance in zip(sizes[start:], distances.tolist(), strict=False):
                self._cells[distance:].take(above if source.up else here, out=line, mode="clip")
            start += len(distances)
        np.rint(sizes, out=values[:start])
        sizes -= values[:start]
        if start < len(values):
            canvas = self._canvas_of(band)
            for line, (y, x) in zip(values[start:], AROUND, strict=True):
                canvas[(RADIUS + y) * pitch + RADIUS + x :].take(here, out=line, mode="clip")
            values[start:] -= canvas[RADIUS * pitch + RADIUS :].take(here)

    def prepare(self, part: Pass) -> None:
        """Compute the low-pass picture that threads share in `gather`."""
        if part.band.name != "low":
            self._canvas_of(part.band)

    def _canvas_of(self, band: Band) -> np.ndarray:
        """Low-pass picture of a band's level in whole steps with a border, which repeats its edge, flattened."""
        if self._canvas[:2] != (band.colour, band.level):
            lowpass = in_steps(self.lowpass(band.colour, band.level)).astype(np.float32)
            border = (RADIUS, RADIUS + 1)
            self._canvas = band.colour, band.level, np.pad(lowpass, (border, border), "edge").reshape(-1)
        return self._canvas[2]

    def lowpass(self, colour: int, level: int) -> np.ndarray:
        """Low-pass picture at the grid of the bands of a level, int32 [h, w] in 1/8 steps."""
        known, picture = self._lowpass.get(colour, (-1, np.zeros((0, 0), np.int32)))
        if known < level:
            known = max(self._grids) - 1
            picture = self._values_of(Band(colour, known, "low")) << FRACTION
        while known > level:
            h, v, d = (self._values_of(Band(colour, known, name)) for name in DETAILS)
            picture = add_level(picture, (h, v, d), known)
            known -= 1
        self._lowpass[colour] = known, picture
        return picture

    def _values_of(self, band: Band) -> np.ndarray:
        """Values int32 [rows, columns] of a band."""
        rows, columns = self.bands[band]
        cells = self._whole(self._cells, band)[RADIUS : RADIUS + rows, RADIUS : RADIUS + columns]
        found: np.ndarray = np.rint(cells).astype(np.int32)
        return found

    def _whole(self, cells: np.ndarray, band: Band) -> np.ndarray:
        """The part of a band with its border [rows, columns], as a view."""
        grid, start = self._grids[band.level], self._starts[band]
        return cells[start : start + grid.size].reshape(grid.shape)

    def active(self, part: Pass) -> np.ndarray:
        """Positions int64 [n] of a detail pass, counted row by row, with an input other than 0."""
        (rows, columns), band, (py, px) = self.positions(part), part.band, PARITIES[part.number]
        found = np.zeros((rows, columns), bool)
        if not found.size:
            return np.zeros(0, np.int64)
        above, before = self._above(band), self._before(band)
        if above is not None:
            found |= above[:rows, :columns]
        if before is not None:
            found |= part.of(before)
        # Positions that are not coded yet hold 0, so all others around count.
        wide = self._lines(band, py, rows, 2)
        near = wide
        for name in DETAILS:
            other = None if name == band.name else self._lines(Band(band.colour, band.level, name), py, rows, 1)
            near = other if near is None else near if other is None else near | other
        if near is not None:
            around = near[:, 1:-1] | near[:, :-2]
            around |= near[:, 2:]
            if wide is not None:
                around[:, 1:-1] |= wide[:, :-4]
                around[:, 1:-1] |= wide[:, 4:]
            found |= around[:, RADIUS + px - 1 :: 2][:, :columns]
        return np.flatnonzero(found)

    def _lines(self, band: Band, py: int, rows: int, radius: int) -> np.ndarray | None:
        """Every second row, from `py` on: True where a band has a value within `radius` rows; None: it has none."""
        if band not in self._filled:
            return None
        whole = self._whole(self._used, band)
        first, *others = (
            whole[y : y + 2 * rows - 1 : 2] for y in range(RADIUS + py - radius, RADIUS + py + radius + 1)
        )
        found = first | others[0]
        for line in others[1:]:
            found |= line
        return found

    def _above(self, band: Band) -> np.ndarray | None:
        """Positions of the next coarser level with a value within one position in its bands; None: there is none."""
        key = (band.colour, band.level + 1)
        if key not in self._nearby:
            self._nearby[key] = _spread([self._inner(Band(*key, name), 1) for name in DETAILS])
        return self._nearby[key]

    def _before(self, band: Band) -> np.ndarray | None:
        """Positions of a band with a value in the bands of colours before that are inputs; None: there is none."""
        if band not in self._nearby:
            colours = range(band.colour)
            found = _spread([self._inner(Band(colour, band.level, band.name), 1) for colour in colours])
            for colour in colours:
                for name in DETAILS:
                    same = self._inner(Band(colour, band.level, name), 0)
                    if name != band.name and same is not None:
                        found = same | (False if found is None else found)
            rows, columns = self.bands[band]
            self._nearby[band] = None if found is None else found[:rows, :columns]
        return self._nearby[band]

    def _inner(self, band: Band, border: int) -> np.ndarray | None:
        """Mask of the positions of a band with values other than 0, with some of its border; None: there are none."""
        if band not in self._filled:
            return None
        rows, columns = (n - 1 for n in self._grids[band.level].shape)
        return self._whole(self._used, band)[
            RADIUS - border : rows - RADIUS + border, RADIUS - border : columns - RADIUS + border
        ]


def _spread(masks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Mask of positions with any mask True within one position, without their border of 1; None without masks."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    whole = given[0]
    for mask in given[1:]:
        whole = whole | mask
    lines = whole[1:-1] | whole[:-2] | whole[2:]
    found: np.ndarray = lines[:, 1:-1] | lines[:, :-2] | lines[:, 2:]
    return found
