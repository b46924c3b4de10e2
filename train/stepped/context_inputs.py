"""Inputs of the scalar context network for a batch of tiles: twin of `vqcodec.entropy.scalar_known`.

`KnownBatch` gives inputs as the integer network has them; networks here divide them by INPUT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vqcodec.entropy.scalar_known import MOST
from vqcodec.entropy.scalar_lowpass import FRACTION, add_level, in_steps
from vqcodec.entropy.scalar_order import (
    AROUND,
    DETAILS,
    PARITIES,
    RADIUS,
    Band,
    Input,
    LayerBands,
    Pass,
    grouped_inputs,
    own_inputs,
)

INPUT = 16
"""Factor from inputs and activations here to those of the integer network."""


def log_size(values: Tensor) -> Tensor:
    """`scalar_known.log_size`."""
    return torch.round(18 * torch.log2(1 + values.abs())).clamp_max(MOST)


def log_value(values: Tensor) -> Tensor:
    """`log_size` with the sign of the value, in the unit of activations."""
    return torch.sign(values) * log_size(values) / INPUT


def relative(x: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs [n, F], none of them all 0, in 1/127 of the first largest one of each row, whole, and these [n]."""
    largest = x.gather(1, x.abs().argmax(1, keepdim=True))[:, 0]
    return torch.round(x * (MOST / largest)[:, None]), largest


def own_count(part: Pass) -> int:
    """Number of coded neighbours in the pass's own band, the first of its inputs."""
    return len(own_inputs(part.band.name, part.number))


def split(layer: LayerBands, planes: Tensor) -> dict[Band, Tensor]:
    """`LayerBands.split` of planes [B, n, h, w]: bands [B, rows, columns]."""
    found = {}
    for colour, part in zip(layer.colours, planes.chunk(len(layer.colours), 1), strict=True):
        if layer.low:
            plane = part[:, 0]
            for level in reversed(layer.level_numbers):
                found[Band(colour, level, "h")] = plane[:, 0::2, 1::2]
                found[Band(colour, level, "v")] = plane[:, 1::2, 0::2]
                found[Band(colour, level, "d")] = plane[:, 1::2, 1::2]
                plane = plane[:, 0::2, 0::2]
            found[Band(colour, layer.level_numbers[0], "low")] = plane
            continue
        for name, of_band in zip(DETAILS, part.chunk(3, 1), strict=True):
            side = math.isqrt(of_band.shape[1])
            found[Band(colour, layer.level_numbers[0], name)] = F.pixel_shuffle(of_band, side)[:, 0]
    return found


def join(layer: LayerBands, bands: Mapping[Band, Tensor], shape: tuple[int, int]) -> Tensor:
    """`LayerBands.join`: bands -> planes [B, n, h, w] of a grid of `shape`."""
    planes = []
    for colour in layer.colours:
        if layer.low:
            first = next(iter(bands.values()))
            whole = first.new_zeros(len(first), *shape)
            plane = whole
            for level in reversed(layer.level_numbers):
                plane[:, 0::2, 1::2] = bands[Band(colour, level, "h")]
                plane[:, 1::2, 0::2] = bands[Band(colour, level, "v")]
                plane[:, 1::2, 1::2] = bands[Band(colour, level, "d")]
                plane = plane[:, 0::2, 0::2]
            plane[...] = bands[Band(colour, layer.level_numbers[0], "low")]
            planes.append(whole[:, None])
            continue
        for name in DETAILS:
            band = bands[Band(colour, layer.level_numbers[0], name)]
            planes.append(F.pixel_unshuffle(band[:, None], band.shape[1] // shape[0]))
    return torch.cat(planes, 1)


def wide(plane: Tensor) -> Tensor:
    """[B, h, w] with a border of zeros for inputs at offsets."""
    return F.pad(plane, (RADIUS, RADIUS + 1, RADIUS, RADIUS + 1))


class KnownBatch:
    """Values of all bands of a batch, and the inputs of passes from them; see `KnownValues`."""

    def __init__(self, bands: Mapping[Band, Tensor]) -> None:
        """`bands`: whole numbers [B, h, w]."""
        self.bands = bands
        self.values = {band: wide(plane).contiguous() for band, plane in bands.items()}
        self.sizes = {band: log_size(plane) for band, plane in self.values.items()}
        used = {band: (plane != 0).float() for band, plane in self.values.items()}
        self._near = {band: F.max_pool2d(plane, 3, 1, 1) for band, plane in used.items()}
        self._around = {band: F.max_pool2d(plane, 5, 1, 2) for band, plane in used.items()}
        self._lowpass: dict[tuple[int, int], Tensor] = {}
        self._canvases: dict[tuple[int, int], Tensor] = {}

    def active(self, part: Pass) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
        """Positions of a detail pass with an input other than 0, and their inputs.

        Returns sample, row and column, each [n], and what `gather` returns. At all other positions the network has the
        same output.
        """
        found = self._window(self._around[part.band], part, False)
        for group in grouped_inputs(part.band.colour, part.band.name, part.number):
            band = group[0].band_of(part.band)
            if band in self._near and band != part.band:
                found = torch.maximum(found, self._window(self._near[band], part, group[0].up))
        # More positions than those searched for: values within the same distance may be no inputs.
        sample, row, column = found.nonzero().unbind(1)
        values, sizes = self.gather(part, (sample, row, column))
        used = values.any(1)
        return (sample[used], row[used], column[used]), values[used], sizes[used]

    def _window(self, plane: Tensor, part: Pass, up: bool) -> Tensor:
        """Positions of a pass in a plane with the border of `wide`; `up`: of the next coarser level."""
        _, h, w = part.of(self.bands[part.band]).shape
        step, (py, px) = (1, (0, 0)) if up else (2, PARITIES[part.number])
        y, x = RADIUS + py, RADIUS + px
        return plane[:, y : y + step * h : step, x : x + step * w : step]

    def gather(self, part: Pass, at: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and their `log_size` [n, F] of the inputs of a pass at positions (sample, row, column)."""
        values = [self.values[part.band].new_zeros(len(at[0]), 0)]
        sizes = [values[0]]
        for group in grouped_inputs(part.band.colour, part.band.name, part.number):
            band = group[0].band_of(part.band)
            if band not in self.values:  # beyond the coarsest level
                values.append(self.values[part.band].new_zeros(len(at[0]), len(group)))
                sizes.append(values[-1])
                continue
            plane = self.values[band]
            indices = _indices(plane, group, part, at)
            values.append(plane.view(-1)[indices])
            sizes.append(self.sizes[band].view(-1)[indices])
        return torch.cat(values, 1), torch.cat(sizes, 1)

    def slopes(self, part: Pass, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Differences [n, 8] between the low-pass picture around positions of a pass and at them, whole steps."""
        key = (part.band.colour, part.band.level)
        if key not in self._canvases:
            whole = in_steps(self.lowpass(*key)).float()[:, None]
            self._canvases[key] = F.pad(whole, (RADIUS, RADIUS + 1, RADIUS, RADIUS + 1), mode="replicate")[:, 0]
        plane = self._canvases[key].contiguous()
        around = _indices(plane, [Input("low", dy, dx) for dy, dx in AROUND], part, at)
        centre = _indices(plane, [Input("low", 0, 0)], part, at)
        return plane.view(-1)[around] - plane.view(-1)[centre]

    def lowpass(self, colour: int, level: int) -> Tensor:
        """Low-pass picture at the grid of the bands of a level, int32 [B, h, w] in 1/8 steps."""
        if (colour, level) not in self._lowpass:
            low = self.bands.get(Band(colour, level, "low"))
            if low is not None:
                found = low.int() << FRACTION
            else:
                coarser = self.lowpass(colour, level + 1)
                h, v, d = (self.bands[Band(colour, level + 1, name)].int() for name in DETAILS)
                found = add_level(coarser, (h, v, d), level + 1)
            self._lowpass[colour, level] = found
        return self._lowpass[colour, level]


def _indices(plane: Tensor, group: Sequence[Input], part: Pass, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Indices [n, len(group)] of inputs in a plane [B, h, w] with the border of `wide`."""
    sample, row, column = at
    step, (py, px) = (1, (0, 0)) if group[0].up else (2, PARITIES[part.number])
    _, height, width = plane.shape
    first = (sample * height + RADIUS + py + step * row) * width + RADIUS + px + step * column
    offsets = torch.tensor([source.dy * width + source.dx for source in group], device=plane.device)
    return first[:, None] + offsets
