"""Scalar context network in floating point, and its rounding to the integers that files are coded with.

Twin of `vqcodec.entropy.scalar_network`, pass by pass: same inputs, same sums, without the rounding of activations.
Activations are in units of 1/16, so that all weights are of the order of 1; inputs are divided by INPUT.

For each value v (a whole number of quantization steps) the network predicts a location m and a real scale class c from
values coded before. The probability of v is the mass of a mixture of two logistic distributions within 1/2 of v:

    P(v) = (1 - w) F(|v - m|, s) + w F(|v - m|, s')        F(d, s) = sigma((1/2 - d) / s) - sigma((-1/2 - d) / s)
    s = 0.45 * NARROWEST * 2^(c / PER_OCTAVE)      s' = s * (1.5 + 3 sigma(20 a_c))      w = sigma(20 b_c - 1)

with a_c, b_c learned for each class and interpolated between classes. Bits are -log2(P(v) (1 - 1e-4) + LEAST). The
network of a pass is

    h1 = clamp(W_first x + biases)
    s1 = clamp(W_shape_first u + W_shape_gate h1 + b)
    s2 = clamp(s1 + W_shape_hidden s1 + b)
    h2 = clamp(h1 + W_hidden h1 + W_shape_scale s2 + b)
    c = CLASS_UNIT (W_scale h2 + biases)
    m = M w_shape_location s2 + a sum linear in neighbours

with x the sizes of the inputs of the pass, u the inputs and the slopes of the low-pass picture, divided by the first
largest one of them, M, and biases for its kind, its level and the step number. Where all inputs are 0, and in the band
`low`, there are no s1 and s2; the inputs of `low` are differences from m.

Legend: B tiles, D channels, H hidden units, F inputs, K neighbours in the band itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vqcodec.config.quantizers import STEPS
from vqcodec.entropy.scalar_context import MODEL
from vqcodec.entropy.scalar_known import MOST
from vqcodec.entropy.scalar_network import LOCATION_UNIT, UNIT
from vqcodec.entropy.scalar_order import AROUND, PARITIES, Band, LayerBands, Pass, inputs, layers_of, own_inputs
from vqcodec.entropy.scalar_residuals import FRACTIONS, TOTAL

from .context_inputs import INPUT, KnownBatch, join, log_value, own_count, relative, split

HIDDEN = 32
"""Hidden units."""
CLASSES = 64
"""Scale classes."""
NARROWEST, PER_OCTAVE = 0.04, 6
"""Scale of class 0 in quantization steps, and number of classes that double it."""
CLASS_UNIT = 8
"""Factor from the network's output to scale classes."""
MIXTURE_UNIT = 20
"""Factor of the parameters of the mixtures: it lets them move as fast as the weights."""
CENTRE = 28
"""Step number at the centre of `step_basis`."""
UNITS_BY_KIND = {
    "first": 256,
    "linear": LOCATION_UNIT,
    "bias": UNIT,
    "scale_kind": UNIT,
    "shape_first": 256,
    "shape_bias": UNIT,
    "shape_location": 256,
}
"""Units of the weights that differ between kinds of passes."""
BIASES_BY_KIND = ("bias", "shape_bias")
"""Biases of activations among them."""
HALF = 1 / 2 / INPUT
"""Half of the unit of activations. It is added to their biases in the integer network, whose floor then rounds."""
LEAST = 1e-6
"""Least probability of a value, that of an escape."""


def step_basis(steps: Tensor) -> Tensor:
    """Step numbers [B] -> smooth functions of them [B, 7], the basis of tables with one row per step number."""
    r = (steps / CENTRE - 1)[:, None]
    return torch.cat([torch.ones_like(r), r, r**2, r**3, torch.relu(r), torch.relu(r - 0.5), torch.relu(r + 0.5)], 1)


class Detail(NamedTuple):
    """Inputs of positions of one kind of pass over a detail band, of float32 in the units of the integer network."""

    kind: str
    sizes: Tensor
    """[n, F]."""
    shape: Tensor
    """[n, F + 8], values and slopes in 1/127 of the largest."""
    largest: Tensor
    """[n], M with its sign."""
    own: Tensor
    """[n, K], neighbours in the band itself."""
    bias: Tensor
    """[n, H], constants of the first layer in the unit of activations."""


class ContextPart(nn.Module):
    """Location and scale of the values of one colour of a layer."""

    def __init__(self, layer: LayerBands, colour: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.layer, self.colour = layer, colour
        passes = {part.kind: part for part in layer.passes(colour)}
        details = [kind for kind, part in passes.items() if part.band.name != "low"]

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
        self.shape_first = nn.ParameterDict({kind: normal(sources[kind] + len(AROUND), 1.0) for kind in details})
        self.shape_bias = nn.ParameterDict({kind: nn.Parameter(torch.rand(hidden)) for kind in details})
        self.shape_gate = nn.Parameter(torch.zeros(hidden, hidden))
        self.shape_hidden = normal(hidden, 0.3)
        self.shape_hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.shape_location = nn.ParameterDict({kind: nn.Parameter(torch.zeros(hidden)) for kind in details})
        self.shape_scale = nn.Parameter(torch.zeros(hidden, hidden))

    def forward(self, known: KnownBatch, part: Pass, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Location (in quantization steps) and scale class, both real, [B, rows, columns] of a pass.

        Args:
            known: values of all bands.
            part: the pass.
            steps: [B], number of the quantization step of each sample.
        """
        bias, constant = self._biases(part, steps)
        positions = part.of(known.bands[part.band])
        if part.band.name == "low":
            sample, row, column = (part.reshape(-1) for part in _all_positions(positions))
            values, _ = known.gather(part, (sample, row, column))
            location, scale = self.low(part.kind, values, bias[sample])
            return location.reshape(positions.shape), self.classes(scale, constant[sample]).reshape(positions.shape)
        # Positions without an input other than 0 have location 0 and one class.
        quiet = self.classes(self.quiet(bias), constant)
        whole = torch.zeros_like(positions), quiet[:, None, None].expand(positions.shape)
        at, values, sizes = known.active(part)
        if not len(values):
            return whole
        shape, largest = relative(torch.cat([values, known.slopes(part, at)], 1))
        own = values[:, : own_count(part)]
        location, scale = self.detail([Detail(part.kind, sizes, shape, largest, own, bias[at[0]])])
        found = location, self.classes(scale, constant[at[0]])
        placed = [plane.index_put(at, value) for plane, value in zip(whole, found, strict=True)]
        return placed[0], placed[1]

    def _biases(self, part: Pass, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Constants of the first layer [B, H] and of the scale [B]."""
        level, basis = self.layer.level_numbers.index(part.band.level), step_basis(steps)
        bias = self.bias[part.kind] + self.level[level] + basis @ self.step
        return bias, self.scale_kind[part.kind] + self.scale_level[level] + basis @ self.scale_step

    def low(self, kind: str, values: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours [n, K] in the low band, constants [n, H] -> locations [n], scales [n] without their constant."""
        location, sums = values.new_zeros(len(values)), bias
        if kind in self.linear:
            location = values @ self.linear[kind]
            sums = bias + log_value(values - torch.round(location.detach())[:, None]) @ self.first[kind]
        return location, self.quiet(sums)

    def quiet(self, sums: Tensor) -> Tensor:
        """Sums of the first layer [n, H] -> scales [n] without their constant, for positions without a shape."""
        h1 = sums.clamp(0, MOST / INPUT)
        return self._scale(h1, h1 @ self.hidden)

    def detail(self, groups: Sequence[Detail]) -> tuple[Tensor, Tensor]:
        """Positions of detail bands -> locations [n], scales [n] without their constant, one group after the other."""
        sums = [torch.addmm(g.bias, g.sizes, self.first[g.kind] / INPUT) for g in groups]
        h1 = torch.cat(sums).clamp(0, MOST / INPUT)
        sums = [torch.addmm(self.shape_bias[g.kind], g.shape, self.shape_first[g.kind] / INPUT) for g in groups]
        s1 = (torch.cat(sums) + h1 @ self.shape_gate).clamp(0, MOST / INPUT)
        s2 = (s1 + torch.addmm(self.shape_hidden_bias, s1, self.shape_hidden)).clamp(0, MOST / INPUT)
        locations = []
        for g, s in zip(groups, s2.split([len(g.sizes) for g in groups]), strict=True):
            location = g.largest * (s @ self.shape_location[g.kind])
            locations.append(location + g.own @ self.linear[g.kind] if g.kind in self.linear else location)
        return torch.cat(locations), self._scale(h1, h1 @ self.hidden + s2 @ self.shape_scale)

    @staticmethod
    def classes(scale: Tensor, constant: Tensor) -> Tensor:
        """Scales and their constants [n] -> scale classes [n], real."""
        return (scale + constant) * CLASS_UNIT

    def _scale(self, h1: Tensor, more: Tensor) -> Tensor:
        return (h1 + more + self.hidden_bias).clamp(0, MOST / INPUT) @ self.scale


def _all_positions(plane: Tensor) -> tuple[Tensor, ...]:
    """Indices of each dimension of all positions of [B, h, w]."""
    return torch.meshgrid(*(torch.arange(n, device=plane.device) for n in plane.shape), indexing="ij")


class ContextNet(nn.Module):
    """Networks of all layers and the shape of the residuals' distribution in each class."""

    def __init__(self, levels: int, hidden: Sequence[int] = ()) -> None:
        """`levels`: wavelet levels within a stride, see `ScalarContext`; `hidden`: units of each layer, default HIDDEN.

        Raises ValueError unless `hidden` is empty or has an entry for each layer.
        """
        super().__init__()
        self.layers = layers_of(levels)
        widths = tuple(hidden) or (HIDDEN,) * len(self.layers)
        if len(widths) != len(self.layers):
            raise ValueError(f"{len(widths)} hidden widths for {len(self.layers)} layers")
        self.parts = nn.ModuleList(
            ContextPart(layer, colour, width)
            for layer, width in zip(self.layers, widths, strict=True)
            for colour in layer.colours
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
            bands: dict[Band, Tensor] = {}
            widths = [layer.width for layer in self.layers]
            for layer, planes in zip(self.layers, torch.round(values.float()).split(widths, 1), strict=True):
                bands |= split(layer, planes)
            known = KnownBatch(bands)
        parts = iter(self.parts)
        locations, scales = [], []
        for layer in self.layers:
            found: tuple[dict[Band, Tensor], dict[Band, Tensor]] = ({}, {})
            for colour in layer.colours:
                net = next(parts)
                for part in layer.passes(colour):
                    for whole, plane in zip(found, net(known, part, steps), strict=True):
                        if part.band not in whole:
                            whole[part.band] = torch.zeros_like(bands[part.band])
                        py, px = PARITIES[part.number]
                        whole[part.band][:, py::2, px::2] = plane
            locations.append(join(layer, found[0], shape))
            scales.append(join(layer, found[1], shape))
        return torch.cat(locations, 1), torch.cat(scales, 1)

    def bits(self, values: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """Bits of values at a location, in steps, and a scale class."""
        narrow, wider, share = self.shape(scale)
        distance = (values - location).abs()
        mass = (1 - share) * logistic_mass(distance, narrow) + share * logistic_mass(distance, wider)
        return -torch.log2(mass * (1 - 1e-4) + LEAST)

    def shape(self, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale class, real -> widths of the two logistic distributions and the share of the wider one."""
        scale = scale.clamp(0, CLASSES - 1)
        below = scale.detach().floor().clamp_max(CLASSES - 2).long()
        part = (scale - below)[..., None]
        mixture = self.mixture[below] * (1 - part) + self.mixture[below + 1] * part
        return mixture_shape(scale, mixture)

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """The integer tensors of `ScalarContext`. Sums of the rounded weights are checked where they are read."""
        found: dict[str, np.ndarray] = {}
        basis = step_basis(torch.arange(STEPS, dtype=torch.float32)).to(self.mixture)
        for net in self.parts:
            assert isinstance(net, ContextPart)
            prefix = f"{net.layer.number}.{net.colour}"
            for name in ("hidden", "scale", "shape_gate", "shape_hidden", "shape_scale"):
                found[f"{prefix}.{name}"] = _rounded(getattr(net, name), 256)
            for name in ("level", "scale_level"):
                found[f"{prefix}.{name}"] = _rounded(getattr(net, name), UNIT)
            for name in ("hidden_bias", "shape_hidden_bias"):
                found[f"{prefix}.{name}"] = _rounded(getattr(net, name) + HALF, UNIT)
            for name, unit in UNITS_BY_KIND.items():
                half = HALF if name in BIASES_BY_KIND else 0
                for kind, value in getattr(net, name).items():
                    found[f"{prefix}.{name}.{kind}"] = _rounded(value + half, unit)
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
        masses = (1 - share) * logistic_mass(distance, narrow) + share * logistic_mass(distance, wide)
        mass = masses.double().cpu().numpy()
        mass = np.append(mass, max(LEAST, 1 - mass.sum()))
        row = 1 + np.floor(mass / mass.sum() * (TOTAL - len(mass))).astype(np.int64)
        row[np.argmax(row)] += TOTAL - row.sum()
        return row


def mixture_shape(scale: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale classes [...] and parameters [..., 2] -> widths of both distributions and share of the wider one, [...]."""
    narrow = 0.45 * NARROWEST * torch.exp2(scale / PER_OCTAVE)
    width = 1.5 + 3 * torch.sigmoid(MIXTURE_UNIT * mixture[..., 0])
    return narrow, narrow * width, torch.sigmoid(MIXTURE_UNIT * mixture[..., 1] - 1)


def logistic_mass(distance: Tensor, width: Tensor) -> Tensor:
    """Mass of a logistic distribution within 1/2 of a point at `distance` from its centre."""
    return torch.sigmoid((0.5 - distance) / width) - torch.sigmoid((-0.5 - distance) / width)


def _rounded(value: Tensor, unit: int) -> np.ndarray:
    found = np.round(value.detach().double().cpu().numpy() * unit)
    largest = abs(found).max(initial=0)
    kind = np.int8 if largest < 128 else np.int16 if largest < 2**15 else np.int32
    result: np.ndarray = found.astype(kind)
    return result
