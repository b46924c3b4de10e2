"""Coding order of wavelet coefficients: bands of a layer, passes over each band, and the inputs of a pass.

The planes of a layer are the positions of its bands (backbones/wavelet.py, transforms/lifting.py):

    first layer       the low band of all colours at the latent's stride, in place: band `low` and LOW_LEVELS levels of
                      `h`, `v`, `d`
    further layers    one level of `h`, `v`, `d`, each of P x P planes, of luma, then of chroma

Colours are coded one after the other, levels from the coarsest to the finest. A level of a colour has 12 passes: for
each of four parities of (row, column) the positions of `h`, then those of `v`; after these the four passes of `d`. So
later passes have coded neighbours in their own band.

An input of a pass is a value at an offset in a coded band: of the band itself, of the other bands of the level, of the
bands of the next coarser level (at half the coordinates), and of the same level of colours before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TypeVar

import numpy as np

from ..config.quantizers import LOW_LEVELS

Array = TypeVar("Array")

PARITIES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""(row, column) modulo 2 of the positions of each of the four passes over a band."""
DETAILS = ("h", "v", "d")
"""Bands of a level: high along rows, along columns, along both."""
RADIUS = 2
"""Largest offset of an input."""
_SQUARE = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
AROUND = tuple(offset for offset in _SQUARE if offset != (0, 0))
"""Offsets (dy, dx) of the inputs from the low-pass picture, see scalar_lowpass.py."""
_WIDE = tuple((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3))


@dataclass(frozen=True)
class Band:
    """A band of wavelet coefficients of a colour."""

    colour: int
    """0: luma, 1 and 2: chroma."""
    level: int
    """Levels of the band below the picture, 0 the finest; `low` has that of the coarsest level."""
    name: str
    """low, h, v or d."""


@dataclass(frozen=True)
class Input:
    """One input of a pass: the value at an offset (dy, dx) of a coded band."""

    name: str
    """Band: low, h, v or d."""
    dy: int
    dx: int
    up: bool = False
    """True: the band of the next coarser level, at half the coordinates."""
    back: int = 0
    """Number of colours between the band and the pass's own; 0: the same colour."""

    def band_of(self, own: Band) -> Band:
        """Its band, for a pass over the band `own`."""
        return Band(own.colour - self.back, own.level + self.up, self.name)


def own_inputs(name: str, number: int) -> tuple[Input, ...]:
    """The coded neighbours, within two positions, of pass `number` in the pass's own band."""
    coded = PARITIES[:number]
    return tuple(Input(name, dy, dx) for dy, dx in _WIDE if _parity(number, dy, dx) in coded)


@cache
def inputs(colour: int, name: str, number: int) -> tuple[Input, ...]:
    """All inputs of pass `number` 0..3 over band `name` of a colour; those of `own_inputs` come first."""
    found = list(own_inputs(name, number))
    if name == "low":
        return tuple(found)
    for other in DETAILS:
        if other == name or ("d" in (other, name) and name != "d"):
            continue
        coded = PARITIES if name == "d" else PARITIES[: number + (name == "v")]
        found += [Input(other, dy, dx) for dy, dx in _SQUARE if _parity(number, dy, dx) in coded]
    found += [Input(other, dy, dx, up=True) for other in DETAILS for dy, dx in _SQUARE]
    for back in range(1, colour + 1):
        found += [Input(name, dy, dx, back=back) for dy, dx in _SQUARE]
        found += [Input(other, 0, 0, back=back) for other in DETAILS if other != name]
    return tuple(found)


@cache
def grouped_inputs(colour: int, name: str, number: int) -> tuple[tuple[Input, ...], ...]:
    """`inputs` in groups of adjacent ones from the same band."""
    groups = groupby(inputs(colour, name, number), lambda source: (source.name, source.up, source.back))
    return tuple(tuple(group) for _, group in groups)


def _parity(number: int, dy: int, dx: int) -> tuple[int, int]:
    """Parity of the position at an offset from the positions of pass `number`."""
    py, px = PARITIES[number]
    return (py + dy) % 2, (px + dx) % 2


@dataclass(frozen=True)
class Pass:
    """The positions of one parity of a band; those of one pass are coded independently of each other."""

    band: Band
    number: int
    """0..3, index of its parity."""

    @property
    def kind(self) -> str:
        """Key of its weights: the band's name and the number."""
        return f"{self.band.name}{self.number}"

    def of(self, plane: Array) -> Array:
        """Its positions in an array or tensor [..., h, w] of the band, as a view."""
        py, px = PARITIES[self.number]
        part: Array = plane[..., py::2, px::2]  # type: ignore[index]
        return part


KINDS = tuple(f"{name}{number}" for name in DETAILS for number in range(4))
"""Kinds of the passes of a level."""
LOW_KINDS = tuple(f"low{number}" for number in range(4)) + KINDS
"""Kinds of the passes of the first layer."""


@dataclass(frozen=True)
class LayerBands:
    """Bands of a layer of a latent with `levels` levels within a stride."""

    levels: int
    number: int
    """Number of the layer, 0..2 * levels: the first has all colours, further odd ones luma, even ones chroma."""

    @property
    def colours(self) -> tuple[int, ...]:
        """Colours of the layer."""
        if self.low:
            return (0, 1, 2)
        return (0,) if self.number % 2 else (1, 2)

    @property
    def low(self) -> bool:
        """True for the layer of the low band."""
        return self.number == 0

    @property
    def level_numbers(self) -> tuple[int, ...]:
        """Levels of the layer, coarse to fine."""
        if self.low:
            return tuple(range(self.levels + LOW_LEVELS - 1, self.levels - 1, -1))
        return (self.levels - (self.number + 1) // 2,)

    @property
    def width(self) -> int:
        """Planes of the layer, n."""
        return len(self.colours) * (1 if self.low else 3 * self._side**2)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of passes of the layer."""
        return LOW_KINDS if self.low else KINDS

    def bands(self, colour: int) -> tuple[Band, ...]:
        """Bands of a colour, coarse to fine."""
        low = [Band(colour, self.level_numbers[0], "low")] if self.low else []
        return (*low, *(Band(colour, level, name) for level in self.level_numbers for name in DETAILS))

    def passes(self, colour: int) -> tuple[Pass, ...]:
        """Passes of a colour in coding order."""
        bands = self.bands(colour)
        found = [Pass(bands[0], number) for number in range(4)] if self.low else []
        for h, v, d in zip(*(bands[self.low + i :: 3] for i in range(3)), strict=True):
            found += [Pass(band, number) for number in range(4) for band in (h, v)]
            found += [Pass(d, number) for number in range(4)]
        return tuple(found)

    def shapes(self, shape: tuple[int, int]) -> dict[Band, tuple[int, int]]:
        """Rows and columns of each band, for planes of `shape`."""
        found = {}
        for colour in self.colours:
            h, w = shape
            if not self.low:
                of_level = (h * self._side, w * self._side)
                found.update(dict.fromkeys(self.bands(colour), of_level))
                continue
            for level in reversed(self.level_numbers):
                found[Band(colour, level, "h")] = (h + 1) // 2, w // 2
                found[Band(colour, level, "v")] = h // 2, (w + 1) // 2
                found[Band(colour, level, "d")] = h // 2, w // 2
                h, w = (h + 1) // 2, (w + 1) // 2
            found[Band(colour, self.level_numbers[0], "low")] = h, w
        return found

    def places(self, band: Band, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Indices int64 of a band's rows and of its columns in flattened planes [n, h, w] of `shape`.

        The sum of both is the index of a position.
        """
        (h, w), (rows, columns) = shape, self.shapes(shape)[band]
        y, x = np.arange(rows), np.arange(columns)
        first = self.colours.index(band.colour) * self.width // len(self.colours)
        if self.low:
            step = 2 ** (band.level - self.level_numbers[-1])
            if band.name == "low":
                return first * h * w + 2 * step * y * w, 2 * step * x
            return first * h * w + (2 * y + (band.name in "vd")) * step * w, (2 * x + (band.name in "hd")) * step
        side = self._side
        first += DETAILS.index(band.name) * side**2
        return (first + y % side * side) * h * w + y // side * w, x % side * h * w + x // side

    def split(self, planes: np.ndarray) -> dict[Band, np.ndarray]:
        """Planes [n, h, w] of the layer -> its bands [rows, columns], as views or copies."""
        found = {}
        for colour, part in zip(self.colours, np.split(planes, len(self.colours)), strict=True):
            if self.low:
                plane = part[0]
                for level in reversed(self.level_numbers):
                    found[Band(colour, level, "h")] = plane[0::2, 1::2]
                    found[Band(colour, level, "v")] = plane[1::2, 0::2]
                    found[Band(colour, level, "d")] = plane[1::2, 1::2]
                    plane = plane[0::2, 0::2]
                found[Band(colour, self.level_numbers[0], "low")] = plane
                continue
            side, (h, w) = self._side, part.shape[1:]
            for name, of_band in zip(DETAILS, np.split(part, 3), strict=True):
                blocks = of_band.reshape(side, side, h, w).transpose(2, 0, 3, 1)
                found[Band(colour, self.level_numbers[0], name)] = blocks.reshape(h * side, w * side)
        return found

    def join(self, bands: dict[Band, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
        """The inverse of `split`: bands -> planes [n, h, w] of a grid of `shape`."""
        first = next(iter(bands.values()))
        planes = []
        h, w = shape
        for colour in self.colours:
            if self.low:
                whole = np.empty((1, h, w), first.dtype)
                plane = whole[0]
                for level in reversed(self.level_numbers):
                    plane[0::2, 1::2] = bands[Band(colour, level, "h")]
                    plane[1::2, 0::2] = bands[Band(colour, level, "v")]
                    plane[1::2, 1::2] = bands[Band(colour, level, "d")]
                    plane = plane[0::2, 0::2]
                plane[...] = bands[Band(colour, self.level_numbers[0], "low")]
                planes.append(whole)
                continue
            for name in DETAILS:
                band, side = bands[Band(colour, self.level_numbers[0], name)], self._side
                planes.append(band.reshape(h, side, w, side).transpose(1, 3, 0, 2).reshape(side * side, h, w))
        return np.concatenate(planes)

    @property
    def _side(self) -> int:
        """Positions of a band along a side of a stride, P."""
        return 2 ** (self.levels - 1 - self.level_numbers[0])


def layers_of(levels: int) -> tuple[LayerBands, ...]:
    """Layers of a latent with `levels` levels within a stride."""
    return tuple(LayerBands(levels, number) for number in range(2 * levels + 1))
