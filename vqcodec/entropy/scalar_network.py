"""Network of the scalar context model: location and scale of wavelet coefficients, in integers.

For each position of a pass (scalar_order.py)

    inputs    round(18 log2(1 + |v|)) of coded values v at fixed offsets: in the band itself, in the other bands of its
              level, in the next coarser level, and in colours before; in the band `low`, signed differences from the
              location in place of magnitudes
    hidden    h1 = clip(floor((inputs . W1 + b1) / 256)),  h2 = clip(h1 + floor((h1 . W2 + b2) / 256)),  clip to 0..127
    location  linear in the coded neighbours of the band itself, in 1/8 steps
    scale     class 0..63, linear in h2

Weights are int16, inputs and activations at most 127 in absolute value, and every sum stays below 2**24: exact in
float32 in any order of summation, so every machine gives the same result. Each colour of each layer has a network.

Legend: N positions, H hidden units, F inputs, K neighbours in the band itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..config.quantizers import LARGEST, STEPS
from .scalar_order import PARITIES, RADIUS, Band, Input, LayerBands, Pass, inputs, own_inputs

EXACT = 2**24
"""Integers below this are exact in float32."""
MOST = 127
"""Largest absolute value of inputs and activations."""
UNIT = 4096
"""Unit of sums is 1/UNIT; that of W1 and W2 is 1/256, that of inputs and activations 1/16."""
LOCATION_UNIT = 512
"""Unit of the weights of the location is 1/LOCATION_UNIT, coarser because values are larger than inputs."""
CHUNK = 2**15
"""Positions computed together: their inputs and activations fit into the cache."""


def log_size(values: np.ndarray) -> np.ndarray:
    """round(18 log2(1 + |v|)), at most 127, of integer values: float32."""
    table = _log_table()
    found: np.ndarray = table[np.minimum(np.abs(values), len(table) - 1).astype(np.int64)]
    return found


@cache
def _log_table() -> np.ndarray:
    """`log_size` of 0, 1, ...; made at the first use."""
    table: np.ndarray = np.minimum(np.round(18 * np.log2(1 + np.arange(2**17))), MOST).astype(np.float32)
    return table


def log_value(values: np.ndarray) -> np.ndarray:
    """`log_size` times the sign of the value."""
    found: np.ndarray = np.sign(values) * log_size(values)
    return found


@dataclass(frozen=True)
class BandNet:
    """Weights of one colour of a layer: float32 arrays of integers, in a dict one for each kind of pass."""

    first: dict[str, np.ndarray]
    """W1 [F, H]."""
    bias: dict[str, np.ndarray]
    """b1 [H]."""
    level: np.ndarray
    """[levels of the layer, H], added to b1."""
    step: np.ndarray
    """[STEPS, H], added to b1."""
    hidden: np.ndarray
    """W2 [H, H]."""
    hidden_bias: np.ndarray
    """b2 [H]."""
    scale: np.ndarray
    """W3 [H]."""
    scale_kind: dict[str, np.ndarray]
    """[1]."""
    scale_level: np.ndarray
    """[levels of the layer]."""
    scale_step: np.ndarray
    """[STEPS]."""
    linear: dict[str, np.ndarray]
    """[K], weights of neighbours in the location; the passes with none have no entry."""


def read_net(take: Callable[[str, Sequence[int]], np.ndarray], layer: LayerBands, colour: int, hidden: int) -> BandNet:
    """The net of a colour of `layer`; `take(name, shape)` returns an integer tensor or raises ValueError.

    Raises ValueError for weights whose sums may leave the exact range.
    """
    n_levels = len(layer.level_numbers)
    passes = {part.kind: part for part in layer.passes(colour)}
    n_inputs = {kind: len(inputs(colour, part.band.name, part.number)) for kind, part in passes.items()}
    n_own = {kind: len(own_inputs(part.band.name, part.number)) for kind, part in passes.items()}
    net = BandNet(
        {kind: take(f"first.{kind}", (n, hidden)) for kind, n in n_inputs.items() if n},
        {kind: take(f"bias.{kind}", (hidden,)) for kind in passes},
        take("level", (n_levels, hidden)),
        take("step", (STEPS, hidden)),
        take("hidden", (hidden, hidden)),
        take("hidden_bias", (hidden,)),
        take("scale", (hidden,)),
        {kind: take(f"scale_kind.{kind}", (1,)) for kind in passes},
        take("scale_level", (n_levels,)),
        take("scale_step", (STEPS,)),
        {kind: take(f"linear.{kind}", (n,)) for kind, n in n_own.items() if n},
    )
    _check_sums(net)
    return net


def _check_sums(net: BandNet) -> None:
    """Raise ValueError where a sum of products could reach EXACT."""
    none = np.zeros((0, len(net.hidden_bias)), np.float32)
    for kind, bias in net.bias.items():
        offsets = np.abs(bias) + np.abs(net.level).max(0) + np.abs(net.step).max(0)
        scale = np.abs(net.scale_kind[kind]) + np.abs(net.scale_level).max() + np.abs(net.scale_step).max()
        for what, sums in (
            ("first layer", MOST * np.abs(net.first.get(kind, none)).sum(0) + offsets),
            ("hidden layer", MOST * np.abs(net.hidden).sum(0) + np.abs(net.hidden_bias)),
            ("scale", MOST * np.abs(net.scale).sum() + scale),
            ("location", LARGEST * np.abs(net.linear.get(kind, none)).sum(0)),
        ):
            if sums.max(initial=0) >= EXACT:
                raise ValueError(f"{what}: sums up to {sums.max():.0f} are beyond the exact {EXACT}")


class Canvas:
    """Coded values of a band and their `log_size`, with a border of zeros, for inputs at offsets."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        wide = (shape[0] + 2 * RADIUS + 1, shape[1] + 2 * RADIUS + 1)
        self.values = np.zeros(wide, np.float32)
        self.sizes = np.zeros(wide, np.float32)

    def fill(self, number: int, values: np.ndarray) -> None:
        """Add the values [rows, columns] of pass `number`."""
        py, px = PARITIES[number]
        h, w = self.shape
        for whole, part in ((self.values, values), (self.sizes, log_size(values))):
            whole[RADIUS + py : RADIUS + h : 2, RADIUS + px : RADIUS + w : 2] = part

    def put(self, values: np.ndarray) -> None:
        """Replace all values [h, w]."""
        inner = (slice(RADIUS, RADIUS + self.shape[0]), slice(RADIUS, RADIUS + self.shape[1]))
        self.values[inner], self.sizes[inner] = values, log_size(values)


def _window(plane: np.ndarray, source: Input, part: Pass, rows: slice, width: int) -> np.ndarray:
    """Values of an input for rows `rows` of the positions of a pass; positions beyond the plane are 0."""
    step, (py, px) = (1, (0, 0)) if source.up else (2, PARITIES[part.number])
    y, x = RADIUS + source.dy + py, RADIUS + source.dx + px
    found = plane[y + step * rows.start : y + step * rows.stop : step, x : x + step * width : step]
    if found.shape == (rows.stop - rows.start, width):
        return found
    # A coarser band of a grid with an odd side may be one row or column shorter than half of this band.
    padded = np.zeros((rows.stop - rows.start, width), np.float32)
    padded[: found.shape[0], : found.shape[1]] = found
    return padded


class KnownValues:
    """Coded values of a tile of `shape` positions, band by band."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.canvases: dict[Band, Canvas] = {}
        self.mode = 0
        """Mode of the previous layer, see scalar_context.py."""

    def begin_layer(self, layer: LayerBands) -> None:
        """Add the bands of a layer, with values of 0."""
        for band, part in layer.split(np.zeros((layer.width, *self.shape), np.int8)).items():
            self.canvases[band] = Canvas((part.shape[0], part.shape[1]))

    def end_layer(self, layer: LayerBands, values: np.ndarray) -> None:
        """Set the values int32 [n, h, w] of a layer."""
        self.begin_layer(layer)
        for band, part in layer.split(values).items():
            self.canvases[band].put(part)

    def sources(self, part: Pass) -> list[tuple[Input, Canvas | None]]:
        """Inputs of a pass with their bands; None: the band does not exist, its values count as 0."""
        band = part.band
        return [
            (source, self.canvases.get(Band(band.colour - source.back, band.level + source.up, source.name)))
            for source in inputs(band.colour, band.name, part.number)
        ]


class BandContext:
    """Locations and scales of a colour of a layer at one quantization step, pass by pass."""

    def __init__(self, net: BandNet, layer: LayerBands, known: KnownValues, step: int) -> None:
        self.net, self.layer, self.known, self.step = net, layer, known, step

    def predict(self, part: Pass) -> tuple[np.ndarray, np.ndarray]:
        """Locations in 1/8 steps int32 and scale classes int16, not limited, [rows, columns] of a pass."""
        shape = part.of(np.broadcast_to(np.int8(0), self.known.canvases[part.band].shape)).shape
        location, scale = np.zeros(shape, np.int32), np.zeros(shape, np.int16)
        if 0 in shape:
            return location, scale
        each = max(1, CHUNK // shape[1])
        sources = self.known.sources(part)
        for start in range(0, shape[0], each):
            rows = slice(start, min(start + each, shape[0]))
            self._predict_rows(part, sources, rows, location[rows], scale[rows])
        return location, scale

    def _predict_rows(
        self,
        part: Pass,
        sources: Sequence[tuple[Input, Canvas | None]],
        rows: slice,
        location: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        net, kind = self.net, part.kind
        n, width = location.size, location.shape[1]
        linear = net.linear.get(kind, np.zeros(0, np.float32))
        neighbours = np.zeros((len(linear), n), np.float32)
        for row, (source, canvas) in zip(neighbours, sources, strict=False):
            assert canvas is not None
            row[:] = _window(canvas.values, source, part, rows, width).reshape(-1)
        sums = linear @ neighbours + LOCATION_UNIT // 16
        eighths = np.floor(sums * (8 / LOCATION_UNIT)).clip(-8 * LARGEST, 8 * LARGEST)
        location[...] = eighths.reshape(location.shape)
        if part.band.name == "low":
            given = log_value(neighbours - np.floor((eighths + 4) / 8))
        else:
            given = np.zeros((len(sources), n), np.float32)
            for row, (source, canvas) in zip(given, sources, strict=True):
                if canvas is not None:
                    row[:] = _window(canvas.sizes, source, part, rows, width).reshape(-1)
        scale[...] = self._classes(part, given).reshape(scale.shape)

    def _classes(self, part: Pass, given: np.ndarray) -> np.ndarray:
        """Inputs [F, N] -> scale classes [N]."""
        net, kind = self.net, part.kind
        level = self.layer.level_numbers.index(part.band.level)
        offset = net.bias[kind] + net.level[level] + net.step[self.step]
        constant = net.scale_kind[kind][0] + net.scale_level[level] + net.scale_step[self.step]
        # All positions without a value other than 0 around them have the same class.
        active = np.flatnonzero(given.any(0)) if len(given) else np.zeros(0, np.int64)
        columns = given[:, active] if len(active) < 0.7 * given.shape[1] else given
        sums = np.zeros((columns.shape[1] + 1, len(offset)), np.float32)
        if len(given):
            np.matmul(columns.T, net.first[kind], out=sums[:-1])
        sums += offset
        h1 = _scaled(sums).clip(0, MOST, out=sums)
        h2 = h1 @ net.hidden
        h2 += net.hidden_bias
        _scaled(h2)
        h2 += h1
        classes = np.floor((h2.clip(0, MOST, out=h2) @ net.scale + (constant + UNIT // 16)) * (8 / UNIT))
        if len(columns.T) == given.shape[1] and len(given):
            found = classes[:-1]
        else:
            found = np.full(given.shape[1], classes[-1], np.float32)
            found[active] = classes[:-1]
        return found.clip(-(2**14), 2**14)


def _scaled(sums: np.ndarray) -> np.ndarray:
    """floor(sums / 256), in place."""
    sums *= np.float32(1 / 256)
    return np.floor(sums, out=sums)


def digest_of(tensors: Mapping[str, np.ndarray]) -> bytes:
    """SHA-256 over names and values, independent of the order and of the integer type."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name], dtype="<i4")
        digest.update(f"{name} {value.shape}".encode() + value.tobytes())
    return digest.digest()
