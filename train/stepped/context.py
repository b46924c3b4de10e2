"""Scalar context network in floating point, and its rounding to the integers that files are coded with.

Twin of `vqcodec.entropy.scalar_network`, layer by layer: same inputs, same sums, without the rounding of activations.
Inputs and activations are in units of 1/16, so that all weights are of the order of 1.

For each value v (a whole number of quantization steps) the network predicts a location m and a real scale class c from
values coded before. The probability of v is the mass of a mixture of two logistic distributions within 1/2 of v:

    P(v) = (1 - w) F(|v - m|, s) + w F(|v - m|, s')        F(d, s) = sigma((1/2 - d) / s) - sigma((-1/2 - d) / s)
    s = 0.45 * NARROWEST * 2^(c / PER_OCTAVE)              s' = s * (1.5 + 3 sigma(a_c))        w = sigma(b_c - 1)

with a_c, b_c learned for each class and interpolated between classes. Bits are -log2(P(v) (1 - 1e-4) + LEAST). The
network of a layer is

    h1 = clamp(W_first x + W_own y + biases)
    h2 = clamp(h1 + W_hidden h1 + b)
    c = CLASS_UNIT (W_scale h2 + linear terms)

with x the sizes (log2) of values in earlier layers and their 3x3 neighbourhoods, y those of the layer's own values in
earlier passes, and biases for the kind of pass, the level of the pyramid and the step number. m is linear in
neighbours.

Legend: B tiles, D channels, n channels of a layer, N positions, K neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.config.quantizers import STEPS
from vqcodec.entropy.scalar_context import MODEL
from vqcodec.entropy.scalar_network import CROSS, FEW, LOCATED, LOCATION_UNIT, MOST, STRONG, UNIT, inputs_of
from vqcodec.entropy.scalar_order import CHECKERBOARD_KINDS, LEVELS, PYRAMID_KINDS, passes, seen
from vqcodec.entropy.scalar_residuals import FRACTIONS, TOTAL

HIDDEN = 96
"""Hidden units."""
CLASSES = 64
"""Scale classes."""
NARROWEST, PER_OCTAVE = 0.04, 6
"""Scale of class 0 in quantization steps, and number of classes that double it."""
INPUT = 16
"""Factor from inputs and activations here to those of the integer network."""
CLASS_UNIT = 8
"""Factor from the network's output to scale classes."""
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


def around(x: Tensor) -> Tensor:
    """[B, n, h, w] -> [B, 9 n, h, w], as `scalar_network.around`."""
    h, w = x.shape[2:]
    wide = F.pad(x, (1, 1, 1, 1))
    return torch.cat([wide[:, :, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)], 1)


def step_basis(steps: Tensor) -> Tensor:
    """Step numbers [B] -> smooth functions of them [B, 7], the basis of tables with one row per step number."""
    r = (steps / CENTRE - 1)[:, None]
    return torch.cat([torch.ones_like(r), r, r**2, r**3, torch.relu(r), torch.relu(r - 0.5), torch.relu(r + 0.5)], 1)


class ContextLayer(nn.Module):
    """Location and scale of the values of layer k."""

    def __init__(self, widths: Sequence[int], k: int, pyramid: bool, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.start, self.width, self.pyramid = sum(widths[:k]), widths[k], pyramid
        n, self.n_inputs = widths[k], sum(inputs_of(widths[i], sum(widths[:i])) for i in range(k))
        self.kinds = PYRAMID_KINDS if pyramid else CHECKERBOARD_KINDS
        later = [kind for kind in self.kinds if kind != "first"]
        n_own = {kind: n * (len(seen(kind)) if n <= FEW else 2) for kind in later}

        def normal(rows: int, gain: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, hidden) * gain / math.sqrt(max(rows, 1)))

        self.first = normal(self.n_inputs, 0.5)
        self.own = nn.ParameterDict({kind: normal(n_own[kind], 0.3) for kind in later})
        self.bias = nn.ParameterDict({kind: nn.Parameter(torch.rand(hidden)) for kind in self.kinds})
        self.level = nn.Parameter(torch.zeros(LEVELS, hidden))
        self.step = nn.Parameter(torch.randn(7, hidden) * 0.1)
        self.hidden = normal(hidden, 0.3)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.scale = nn.Parameter(torch.randn(hidden, n) * 0.5 / math.sqrt(hidden))
        self.scale_bias = nn.Parameter(torch.full((n,), (24 if k < 2 else 10) / CLASS_UNIT))
        self.scale_kind = nn.ParameterDict({kind: nn.Parameter(torch.zeros(n)) for kind in self.kinds})
        self.scale_level = nn.Parameter(torch.zeros(LEVELS, n))
        self.scale_step = nn.Parameter(torch.zeros(7, n))
        self.spread = nn.ParameterDict({kind: nn.Parameter(torch.zeros(2, n)) for kind in later})
        self.linear = nn.ParameterDict({kind: nn.Parameter(torch.zeros(len(seen(kind)), n)) for kind in later})
        self.linear_bias = nn.Parameter(torch.zeros(n))
        crossed = 9 * min(self.start, CROSS) if k < LOCATED else 0
        self.cross = nn.Parameter(torch.zeros(crossed, n))

    def forward(self, values: Tensor, inputs: Tensor, strong: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Location (in quantization steps) and scale class of the values, both real numbers [B, n, h, w].

        Args:
            values: [B, D, h, w], whole numbers.
            inputs: [B, F, h * w].
            strong: [B, 9 * CROSS, h * w].
            steps: [B], number of the quantization step of each sample.
        """
        batch, _, h, w = values.shape
        own = values[:, self.start : self.start + self.width].reshape(batch, self.width, h * w)
        basis = step_basis(steps)
        earlier = torch.einsum("bfp,fh->bph", inputs[:, : self.n_inputs], self.first)
        earlier = earlier + (basis @ self.step)[:, None]
        shift = torch.einsum("bfp,fn->bnp", strong[:, : len(self.cross)], self.cross) + self.linear_bias[:, None]
        of_step = (basis @ self.scale_step)[:, :, None] + self.scale_bias[:, None]
        locations, scales, order = [], [], []
        for kind, places in _by_kind((h, w), self.pyramid, values.device).items():
            location, scale = self._predict(kind, places, own, earlier, shift, of_step)
            locations.append(location)
            scales.append(scale)
            order.append(places[0])
        back = torch.argsort(torch.cat(order))
        shape = (batch, self.width, h, w)
        return torch.cat(locations, 2)[:, :, back].reshape(shape), torch.cat(scales, 2)[:, :, back].reshape(shape)

    def _predict(
        self,
        kind: str,
        places: tuple[Tensor, Tensor, Tensor],
        own: Tensor,
        earlier: Tensor,
        shift: Tensor,
        of_step: Tensor,
    ) -> tuple[Tensor, Tensor]:
        positions, levels, neighbours = places
        sums = earlier[:, positions] + self.bias[kind] + self.level[levels]
        location = shift[:, :, positions]
        scale = of_step + (self.scale_level[levels].T + self.scale_kind[kind][:, None])
        if kind != "first":
            near = own[:, :, neighbours.reshape(-1)].reshape(*own.shape[:2], *neighbours.shape)
            location = location + torch.einsum("bnkp,kn->bnp", near, self.linear[kind])
            difference = near - torch.round(location.detach())[:, :, None]
            inside = torch.tensor([max(abs(dy), abs(dx)) == 1 for dy, dx in seen(kind)], device=own.device)
            outside = inside if bool(inside.all()) else ~inside
            spreads = [log_size(difference[:, :, which].abs().sum(2)) for which in (inside, outside)]
            few = self.width <= FEW
            seen_here = log_value(difference).flatten(1, 2) if few else torch.cat(spreads, 1)
            sums = sums + torch.einsum("bfp,fh->bph", seen_here, self.own[kind])
            for spread, weight in zip(spreads, self.spread[kind], strict=True):
                scale = scale + spread * weight[:, None]
        h1 = sums.clamp(0, MOST / INPUT)
        h2 = (h1 + h1 @ self.hidden + self.hidden_bias).clamp(0, MOST / INPUT)
        return location, ((h2 @ self.scale).transpose(1, 2) + scale) * CLASS_UNIT


_PLACES: dict[tuple[tuple[int, int], bool, torch.device], dict[str, tuple[Tensor, Tensor, Tensor]]] = {}


def _by_kind(shape: tuple[int, int], pyramid: bool, device: torch.device) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Kind of pass -> positions [N], levels [N] and neighbours [K, N] of all its passes over a grid."""
    key = (shape, pyramid, device)
    if key not in _PLACES:
        kinds = dict.fromkeys(part.kind for part in passes(shape, pyramid))
        found = {}
        for kind in kinds:
            parts = [part for part in passes(shape, pyramid) if part.kind == kind]
            found[kind] = (
                torch.from_numpy(np.concatenate([part.positions for part in parts])).to(device),
                torch.from_numpy(np.concatenate([np.full(len(p.positions), p.level) for p in parts])).to(device),
                torch.from_numpy(np.concatenate([part.neighbours for part in parts], 1)).to(device),
            )
        _PLACES[key] = found
    return _PLACES[key]


class ContextNet(nn.Module):
    """All layers and the shape of the residuals' distribution in each class."""

    def __init__(self, widths: Sequence[int], lifted: int = 0, hidden: int = HIDDEN) -> None:
        """`lifted`: how many of the first channels are wavelet coefficients, see `ScalarContext`."""
        super().__init__()
        self.widths = tuple(widths)
        self.layers = nn.ModuleList(
            ContextLayer(widths, k, sum(widths[: k + 1]) <= lifted, hidden) for k in range(len(widths))
        )
        self.mixture = nn.Parameter(torch.zeros(CLASSES, 2))

    def forward(self, values: Tensor, steps: Tensor) -> Tensor:
        """values [B, D, h, w] in steps of the quantizer, steps [B] their numbers -> bits [B, D, h, w].

        The gradient reaches the values through their own likelihood only, not through the contexts of others.
        """
        return self.bits(values, *self.predict(values, steps))

    def predict(self, values: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """values [B, D, h, w], steps [B] -> location in steps and scale class of each, real, [B, D, h, w]."""
        with torch.no_grad():
            known = torch.round(values)
            inputs = torch.cat([self._inputs(known, k) for k in range(len(self.widths))], 1).flatten(2)
            batch, _, h, w = known.shape
            strong = around(known[:, :CROSS])
            strong = strong.reshape(batch, 9, -1, h * w).transpose(1, 2).flatten(1, 2)
        locations, scales = zip(*(layer(known, inputs, strong, steps) for layer in self.layers), strict=True)
        return torch.cat(locations, 1), torch.cat(scales, 1)

    def _inputs(self, values: Tensor, k: int) -> Tensor:
        """Inputs that layer k gives to later ones, as `scalar_network.KnownValues.end_layer`."""
        start, n = sum(self.widths[:k]), self.widths[k]
        part = values[:, start : start + n]
        found = [log_size(part), around(log_size(part.abs().sum(1, keepdim=True)))]
        if start < STRONG:
            found.append(around(log_value(part[:, : STRONG - start])))
        return torch.cat(found, 1)

    def bits(self, values: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """Bits of values at a location, in steps, and a scale class."""
        narrow, wide, share = self.shape(scale)
        distance = (values - location).abs()
        mass = (1 - share) * _mass(distance, narrow) + share * _mass(distance, wide)
        return -torch.log2(mass * (1 - 1e-4) + LEAST)

    def shape(self, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale class, real -> widths of the two logistic distributions and the share of the wider one."""
        scale = scale.clamp(0, CLASSES - 1)
        below = scale.detach().floor().clamp_max(CLASSES - 2).long()
        part = (scale - below)[..., None]
        mixture = self.mixture[below] * (1 - part) + self.mixture[below + 1] * part
        narrow = 0.45 * NARROWEST * torch.exp2(scale / PER_OCTAVE)
        return narrow, narrow * (1.5 + 3 * torch.sigmoid(mixture[..., 0])), torch.sigmoid(mixture[..., 1] - 1)

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """The integer tensors of `ScalarContext`. Sums of the rounded weights are checked where they are read."""
        found: dict[str, np.ndarray] = {}
        basis = step_basis(torch.arange(STEPS, dtype=torch.float32))
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, ContextLayer)
            plain = {"first": 256, "hidden": 256, "scale": 256, "level": UNIT, "hidden_bias": UNIT}
            plain |= {"scale_level": UNIT, "linear_bias": LOCATION_UNIT, "cross": LOCATION_UNIT}
            for name, unit in plain.items():
                value = getattr(layer, name)
                if name != "cross" or len(value):
                    found[f"{k}.{name}"] = _rounded(value, unit)
            for name, unit in {"own": 256, "spread": 256, "linear": LOCATION_UNIT, "bias": UNIT}.items():
                for kind, value in getattr(layer, name).items():
                    found[f"{k}.{name}.{kind}"] = _rounded(value, unit)
            for kind, value in layer.scale_kind.items():
                found[f"{k}.scale_kind.{kind}"] = _rounded(value + layer.scale_bias, UNIT)
            found[f"{k}.step"] = _rounded(basis.to(layer.step) @ layer.step, UNIT)
            found[f"{k}.scale_step"] = _rounded(basis.to(layer.step) @ layer.scale_step, UNIT)
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
