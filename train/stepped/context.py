"""Scalar context network in floating point, and its rounding to the integers that files are coded with.

Twin of `vqcodec.entropy.scalar_network`, pass by pass: same inputs, same sums, without the rounding of activations.
Inputs and activations are in units of 1/16, so that all weights are of the order of 1.

For each value v (a whole number of quantization steps) the network predicts a location m and a real scale class c from
values coded before. The probability of v is the mass of a mixture of two logistic distributions within 1/2 of v:

    P(v) = (1 - w) F(|v - m|, s) + w F(|v - m|, s')        F(d, s) = sigma((1/2 - d) / s) - sigma((-1/2 - d) / s)
    s = 0.45 * NARROWEST * 2^(c / PER_OCTAVE)      s' = s * (1.5 + 3 sigma(20 a_c))      w = sigma(20 b_c - 1)

with a_c, b_c learned for each class and interpolated between classes. Bits are -log2(P(v) (1 - 1e-4) + LEAST). The
network of a pass is

    h1 = clamp(W_first x + biases)
    h2 = clamp(h1 + W_hidden h1 + b)
    c = CLASS_UNIT (W_scale h2 + biases)

with x the inputs of the pass and biases for its kind, its level and the step number. m is linear in neighbours.

Legend: B tiles, D channels, H hidden units, F inputs, K neighbours in the band itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.config.quantizers import STEPS
from vqcodec.entropy.scalar_context import MODEL
from vqcodec.entropy.scalar_network import LOCATION_UNIT, MOST, UNIT
from vqcodec.entropy.scalar_order import (
    DETAILS,
    PARITIES,
    RADIUS,
    Band,
    Input,
    LayerBands,
    Pass,
    inputs,
    layers_of,
    own_inputs,
)
from vqcodec.entropy.scalar_residuals import FRACTIONS, TOTAL

HIDDEN = 32
"""Hidden units."""
CLASSES = 64
"""Scale classes."""
NARROWEST, PER_OCTAVE = 0.04, 6
"""Scale of class 0 in quantization steps, and number of classes that double it."""
INPUT = 16
"""Factor from inputs and activations here to those of the integer network."""
CLASS_UNIT = 8
"""Factor from the network's output to scale classes."""
MIXTURE_UNIT = 20
"""Factor of the parameters of the mixtures: it lets them move as fast as the weights."""
CENTRE = 28
"""Step number at the centre of `step_basis`."""
LEAST = 1e-6
"""Least probability of a value, that of an escape."""


def log_size(values: Tensor) -> Tensor:
    """`scalar_network.log_size` divided by INPUT."""
    return torch.round(18 * torch.log2(1 + values.abs())).clamp_max(MOST) / INPUT


def log_value(values: Tensor) -> Tensor:
    """`log_size` with the sign of the value."""
    return torch.sign(values) * log_size(values)


def step_basis(steps: Tensor) -> Tensor:
    """Step numbers [B] -> smooth functions of them [B, 7], the basis of tables with one row per step number."""
    r = (steps / CENTRE - 1)[:, None]
    return torch.cat([torch.ones_like(r), r, r**2, r**3, torch.relu(r), torch.relu(r - 0.5), torch.relu(r + 0.5)], 1)


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
    """[B, h, w] with the border of zeros of `scalar_network.Canvas`."""
    return F.pad(plane, (RADIUS, RADIUS + 1, RADIUS, RADIUS + 1))


def window(plane: Tensor, source: Input, part: Pass, shape: tuple[int, int]) -> Tensor:
    """Values of an input, [B, rows, columns] with `shape` the rows and columns of the positions of a pass."""
    step, (py, px) = (1, (0, 0)) if source.up else (2, PARITIES[part.number])
    y, x = RADIUS + source.dy + py, RADIUS + source.dx + px
    found = plane[:, y : y + step * shape[0] : step, x : x + step * shape[1] : step]
    return F.pad(found, (0, shape[1] - found.shape[2], 0, shape[0] - found.shape[1]))


class ContextPart(nn.Module):
    """Location and scale of the values of one colour of a layer."""

    def __init__(self, layer: LayerBands, colour: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.layer, self.colour = layer, colour
        passes = {part.kind: part for part in layer.passes(colour)}

        def normal(rows: int, gain: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, hidden) * gain / math.sqrt(max(rows, 1)))

        sources = {kind: len(inputs(colour, part.band.name, part.number)) for kind, part in passes.items()}
        own = {kind: len(own_inputs(part.band.name, part.number)) for kind, part in passes.items()}
        n_levels = len(layer.level_numbers)
        self.first = nn.ParameterDict({kind: normal(n, 0.7) for kind, n in sources.items() if n})
        self.bias = nn.ParameterDict({kind: nn.Parameter(torch.rand(hidden)) for kind in passes})
        self.level = nn.Parameter(torch.zeros(n_levels, hidden))
        self.step = nn.Parameter(torch.randn(7, hidden) * 0.1)
        self.hidden = normal(hidden, 0.3)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.scale = nn.Parameter(torch.rand(hidden) / hidden)
        start = {kind: (40 if kind.startswith("low") else 16) / CLASS_UNIT for kind in passes}
        self.scale_kind = nn.ParameterDict({kind: nn.Parameter(torch.full((1,), start[kind])) for kind in passes})
        self.scale_level = nn.Parameter(torch.zeros(n_levels))
        self.scale_step = nn.Parameter(torch.zeros(7))
        self.linear = nn.ParameterDict({kind: nn.Parameter(torch.zeros(n)) for kind, n in own.items() if n})

    def forward(
        self, values: Mapping[Band, Tensor], sizes: Mapping[Band, Tensor], part: Pass, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Location (in quantization steps) and scale class, both real, [B, rows, columns] of a pass.

        Args:
            values: whole numbers of each band, [B, h, w] with the border of `wide`.
            sizes: their `log_size`.
            part: the pass.
            steps: [B], number of the quantization step of each sample.
        """
        kind, band = part.kind, part.band
        sources = inputs(self.colour, band.name, part.number)
        h, w = (n - 2 * RADIUS - 1 for n in values[band].shape[1:])
        py, px = PARITIES[part.number]
        shape = ((h - py + 1) // 2, (w - px + 1) // 2)
        location = values[band].new_zeros(len(steps), *shape)
        neighbours: list[Tensor] = []
        if kind in self.linear:
            own = sources[: len(self.linear[kind])]
            neighbours = [window(values[band], source, part, shape) for source in own]
            location = torch.einsum("bkhw,k->bhw", torch.stack(neighbours, 1), self.linear[kind])
        if band.name == "low":
            rounded = torch.round(location.detach())
            given = [log_value(neighbour - rounded) for neighbour in neighbours]
        else:
            given = [self._given(sizes, source, part, shape) for source in sources]
        level, basis = self.layer.level_numbers.index(band.level), step_basis(steps)
        sums = (self.bias[kind] + self.level[level] + basis @ self.step)[:, :, None, None]
        if given:
            sums = sums + torch.einsum("bfhw,fn->bnhw", torch.stack(given, 1), self.first[kind])
        else:
            sums = sums.expand(-1, -1, *shape)
        h1 = sums.clamp(0, MOST / INPUT)
        more = torch.einsum("bnhw,nm->bmhw", h1, self.hidden) + self.hidden_bias[:, None, None]
        h2 = (h1 + more).clamp(0, MOST / INPUT)
        constant = self.scale_kind[kind] + self.scale_level[level] + basis @ self.scale_step
        return location, (torch.einsum("bnhw,n->bhw", h2, self.scale) + constant[:, None, None]) * CLASS_UNIT

    @staticmethod
    def _given(sizes: Mapping[Band, Tensor], source: Input, part: Pass, shape: tuple[int, int]) -> Tensor:
        band = Band(part.band.colour - source.back, part.band.level + source.up, source.name)
        if band not in sizes:  # beyond the coarsest level
            first = sizes[part.band]
            return first.new_zeros(len(first), *shape)
        return window(sizes[band], source, part, shape)


class ContextNet(nn.Module):
    """Networks of all layers and the shape of the residuals' distribution in each class."""

    def __init__(self, levels: int, hidden: int = HIDDEN) -> None:
        """`levels`: wavelet levels within a stride, see `ScalarContext`."""
        super().__init__()
        self.layers = layers_of(levels)
        self.parts = nn.ModuleList(
            ContextPart(layer, colour, hidden) for layer in self.layers for colour in layer.colours
        )
        self.mixture = nn.Parameter(torch.zeros(CLASSES, 2))

    def forward(self, values: Tensor, steps: Tensor) -> Tensor:
        """values [B, D, h, w] in steps of the quantizer, steps [B] their numbers -> bits [B, D, h, w].

        The gradient reaches the values through their own likelihood only, not through the contexts of others.
        """
        return self.bits(values, *self.predict(values, steps))

    def predict(self, values: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """values [B, D, h, w], steps [B] -> location in steps and scale class of each, real, [B, D, h, w]."""
        shape = (values.shape[2], values.shape[3])
        with torch.no_grad():
            widths = [layer.width for layer in self.layers]
            known: dict[Band, Tensor] = {}
            for layer, part in zip(self.layers, torch.round(values).split(widths, 1), strict=True):
                known |= {band: wide(plane) for band, plane in split(layer, part).items()}
            sizes = {band: log_size(plane) for band, plane in known.items()}
        parts = iter(self.parts)
        locations, scales = [], []
        for layer in self.layers:
            found: tuple[dict[Band, Tensor], dict[Band, Tensor]] = ({}, {})
            for colour in layer.colours:
                net = next(parts)
                for part in layer.passes(colour):
                    for bands, plane in zip(found, net(known, sizes, part, steps), strict=True):
                        if part.band not in bands:
                            h, w = (n - 2 * RADIUS - 1 for n in known[part.band].shape[1:])
                            bands[part.band] = plane.new_zeros(len(plane), h, w)
                        py, px = PARITIES[part.number]
                        bands[part.band][:, py::2, px::2] = plane
            locations.append(join(layer, found[0], shape))
            scales.append(join(layer, found[1], shape))
        return torch.cat(locations, 1), torch.cat(scales, 1)

    def bits(self, values: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """Bits of values at a location, in steps, and a scale class."""
        narrow, wider, share = self.shape(scale)
        distance = (values - location).abs()
        mass = (1 - share) * _mass(distance, narrow) + share * _mass(distance, wider)
        return -torch.log2(mass * (1 - 1e-4) + LEAST)

    def shape(self, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale class, real -> widths of the two logistic distributions and the share of the wider one."""
        scale = scale.clamp(0, CLASSES - 1)
        below = scale.detach().floor().clamp_max(CLASSES - 2).long()
        part = (scale - below)[..., None]
        mixture = self.mixture[below] * (1 - part) + self.mixture[below + 1] * part
        narrow = 0.45 * NARROWEST * torch.exp2(scale / PER_OCTAVE)
        width = 1.5 + 3 * torch.sigmoid(MIXTURE_UNIT * mixture[..., 0])
        return narrow, narrow * width, torch.sigmoid(MIXTURE_UNIT * mixture[..., 1] - 1)

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """The integer tensors of `ScalarContext`. Sums of the rounded weights are checked where they are read."""
        found: dict[str, np.ndarray] = {}
        basis = step_basis(torch.arange(STEPS, dtype=torch.float32)).to(self.mixture)
        for net in self.parts:
            assert isinstance(net, ContextPart)
            prefix = f"{net.layer.number}.{net.colour}"
            for name, unit in {"hidden": 256, "scale": 256, "level": UNIT, "hidden_bias": UNIT}.items():
                found[f"{prefix}.{name}"] = _rounded(getattr(net, name), unit)
            found[f"{prefix}.scale_level"] = _rounded(net.scale_level, UNIT)
            for name, unit in {"first": 256, "linear": LOCATION_UNIT, "bias": UNIT, "scale_kind": UNIT}.items():
                for kind, value in getattr(net, name).items():
                    found[f"{prefix}.{name}.{kind}"] = _rounded(value, unit)
            found[f"{prefix}.step"] = _rounded(basis @ net.step, UNIT)
            found[f"{prefix}.scale_step"] = _rounded(basis @ net.scale_step, UNIT)
        rows = [self._table(i, f) for i in range(CLASSES) for f in range(FRACTIONS)]
        found["table_lengths"] = np.array([len(row) for row in rows], np.int16)
        found["tables"] = np.concatenate(rows).astype(np.int32)
        return {MODEL + name: value for name, value in found.items()}

    def _table(self, i: int, fraction: int) -> np.ndarray:
        """Frequencies int64 of class i and a location of `fraction` / 8, see `ResidualTables`."""
        narrow, wide, share = self.shape(torch.tensor([float(i)], device=self.mixture.device))
        width = NARROWEST * 2 ** (i / PER_OCTAVE)
        reach = int(min(255, max(2, math.ceil(5 * width + 2))))
        distance = (torch.arange(-reach, reach + 1, device=narrow.device) - fraction / 8).abs()
        mass = ((1 - share) * _mass(distance, narrow) + share * _mass(distance, wide)).double().cpu().numpy()
        mass = np.append(mass, max(LEAST, 1 - mass.sum()))
        row = 1 + np.floor(mass / mass.sum() * (TOTAL - len(mass))).astype(np.int64)
        row[np.argmax(row)] += TOTAL - row.sum()
        return row


def _mass(distance: Tensor, width: Tensor) -> Tensor:
    """Mass of a logistic distribution within 1/2 of a point at `distance` from its centre."""
    return torch.sigmoid((0.5 - distance) / width) - torch.sigmoid((-0.5 - distance) / width)


def _rounded(value: Tensor, unit: int) -> np.ndarray:
    found = np.round(value.detach().double().cpu().numpy() * unit)
    largest = abs(found).max(initial=0)
    kind = np.int8 if largest < 128 else np.int16 if largest < 2**15 else np.int32
    result: np.ndarray = found.astype(kind)
    return result
