"""Network of the scalar context model: location and scale of wavelet coefficients, in integers.

For each position of a pass (scalar_order.py) over a band h, v or d

    sizes     round(18 log2(1 + |v|)) of coded values v at fixed offsets: in the band itself, in the other bands of its
              level, in the next coarser level, and in colours before
    shape     the same values v, and the slopes of the low-pass picture around the position (scalar_lowpass.py), all
              divided by the largest one, M s, with s its sign; in 1/127
    hidden    h1 = clip(floor((sizes . W1 + b1) / 256)),  clip to 0..127
              s1 = clip(floor((shape . S1 + h1 . G + c1) / 256)),  s2 = clip(s1 + floor((s1 . S2 + c2) / 256))
              h2 = clip(h1 + floor((h1 . W2 + s2 . T + b2) / 256))
    location  linear in the coded neighbours of the band itself, plus M s (s2 . S3), in 1/8 steps
    scale     class 0..63, linear in h2

A position whose values v are all 0 has location 0 and no shape: its h2 is without s2. Positions of the band `low` have
no shape either; their location is linear in the neighbours, and h1 has signed differences from it in place of sizes.

Weights are integers, inputs and activations at most 127 in absolute value, and every sum stays below 2**24: exact in
float32 in any order of summation, so every machine gives the same result. Each colour of each layer has a network.

Legend: N positions, H hidden units, F inputs, K neighbours in the band itself.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..config.quantizers import LARGEST, STEPS
from ..runtime.threads import thread_count
from .scalar_known import MOST, SIZE, KnownValues, log_size
from .scalar_order import AROUND, LayerBands, Pass, inputs, own_inputs
from .workers import share_out

EXACT = 2**24
"""Integers below this are exact in float32."""
UNIT = 4096
"""Unit of sums is 1/UNIT; that of weights is 1/256, that of inputs and activations 1/16."""
LOCATION_UNIT = 512
"""Unit of the weights of the neighbours in the location is 1/LOCATION_UNIT, as values are larger than inputs."""
RATIO = 2**16
"""Unit of the reciprocal of M is 1/RATIO."""
SHAPE_UNIT, MOST_SHAPE, MOST_SLOPE = 128, 1023, 8191
"""Location from the shape: its unit is M/SHAPE_UNIT, its largest value, and the largest M that it counts for."""
ROWS = 128
"""Power of two, at least the number of inputs and slopes of any pass."""
CHUNK = 8192
"""Most positions computed together: their arrays fit into the cache."""
LEAST = 1024
"""Fewest positions of a further part: smaller parts take longer to hand over than to compute."""


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
    shape_first: dict[str, np.ndarray]
    """S1 [F + 8, H]; these and the next for passes over h, v and d."""
    shape_bias: dict[str, np.ndarray]
    """c1 [H]."""
    shape_gate: np.ndarray
    """G [H, H]."""
    shape_hidden: np.ndarray
    """S2 [H, H]."""
    shape_hidden_bias: np.ndarray
    """c2 [H]."""
    shape_location: dict[str, np.ndarray]
    """S3 [H]."""
    shape_scale: np.ndarray
    """T [H, H]."""

    @cached_property
    def scaled(self) -> Scaled:
        """Weights as the products need them."""
        return Scaled(self)


def read_net(take: Callable[[str, Sequence[int]], np.ndarray], layer: LayerBands, colour: int, hidden: int) -> BandNet:
    """The net of a colour of `layer`; `take(name, shape)` returns an integer tensor or raises ValueError.

    Raises ValueError for weights whose sums may leave the exact range.
    """
    n_levels = len(layer.level_numbers)
    passes = {part.kind: part for part in layer.passes(colour)}
    n_inputs = {kind: len(inputs(colour, part.band.name, part.number)) for kind, part in passes.items()}
    n_own = {kind: len(own_inputs(part.band.name, part.number)) for kind, part in passes.items()}
    n_shape = {kind: n_inputs[kind] + len(AROUND) for kind, part in passes.items() if part.band.name != "low"}
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
        {kind: take(f"shape_first.{kind}", (n, hidden)) for kind, n in n_shape.items()},
        {kind: take(f"shape_bias.{kind}", (hidden,)) for kind in n_shape},
        take("shape_gate", (hidden, hidden)),
        take("shape_hidden", (hidden, hidden)),
        take("shape_hidden_bias", (hidden,)),
        {kind: take(f"shape_location.{kind}", (hidden,)) for kind in n_shape},
        take("shape_scale", (hidden, hidden)),
    )
    _check_sums(net)
    return net


def _check_sums(net: BandNet) -> None:
    """Raise ValueError where a sum of products could reach EXACT."""
    none = np.zeros((0, len(net.hidden_bias)), np.float32)
    for kind, bias in net.bias.items():
        offsets = np.abs(bias) + np.abs(net.level).max(0) + np.abs(net.step).max(0)
        scale = np.abs(net.scale_kind[kind]) + np.abs(net.scale_level).max() + np.abs(net.scale_step).max()
        shape = kind in net.shape_first
        of_shape = np.abs(net.shape_scale).sum(0) if shape else 0
        sums = {
            "first layer": MOST * np.abs(net.first.get(kind, none)).sum(0) + offsets,
            "hidden layer": MOST * (np.abs(net.hidden).sum(0) + of_shape) + np.abs(net.hidden_bias),
            "scale": MOST * np.abs(net.scale).sum() + scale + UNIT // 16,
            "location": LARGEST * np.abs(net.linear.get(kind, none)).sum(0) + LOCATION_UNIT // 16,
        }
        if shape:
            of_inputs = np.abs(net.shape_first[kind]).sum(0) + np.abs(net.shape_gate).sum(0)
            sums |= {
                "first layer of the shape": MOST * of_inputs + np.abs(net.shape_bias[kind]),
                "hidden layer of the shape": MOST * np.abs(net.shape_hidden).sum(0) + np.abs(net.shape_hidden_bias),
                "location of the shape": MOST * np.abs(net.shape_location[kind]).sum() + UNIT // SHAPE_UNIT // 2,
            }
        for what, largest in sums.items():
            if largest.max(initial=0) >= EXACT:
                raise ValueError(f"{what}: sums up to {largest.max():.0f} are beyond the exact {EXACT}")


@dataclass(frozen=True)
class Prediction:
    """Locations and scales of the positions of a pass."""

    part: Pass
    shape: tuple[int, int]
    """Rows and columns of the positions."""
    at: np.ndarray
    """int64 [n], positions with an input other than 0, counted row by row, rising."""
    location: np.ndarray
    """int32 [n], in 1/8 steps."""
    scale: np.ndarray
    """int32 [n], scale class."""
    quiet: int
    """Scale class of all other positions; their location is 0."""

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Locations int32 and scale classes int16 of all positions, [rows, columns]."""
        location, scale = np.zeros(self.shape, np.int32), np.full(self.shape, self.quiet, np.int16)
        location.reshape(-1)[self.at], scale.reshape(-1)[self.at] = self.location, self.scale
        return location, scale


class Scaled:
    """Weights of a net divided by 256, transposed, with biases as the weights of an input of 1: no sum needs more."""

    def __init__(self, net: BandNet) -> None:
        def joined(*parts: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(np.concatenate(parts).T) * np.float32(1 / 256)

        blank = np.zeros((1, len(net.hidden)), np.float32)
        none = blank[:0]
        self.first = {kind: joined(net.first.get(kind, none) / np.float32(SIZE), blank) for kind in net.bias}
        """[H, F + 1] of sizes times SIZE and 1; the last column is for the bias, which depends on level and step."""
        self.hidden = joined(net.hidden_bias[None], net.hidden)
        """[H, 1 + H] of 1 and h1, for positions without a shape."""
        self.hidden_of_shape = joined(net.hidden_bias[None], net.hidden, net.shape_scale)
        """[H, 1 + 2 H] of 1, h1 and s2."""
        self.shape_first = {
            kind: joined(net.shape_bias[kind][None], net.shape_gate, first) for kind, first in net.shape_first.items()
        }
        """[H, 1 + H + F + 8] of 1, h1 and the shape."""
        self.shape_hidden = joined(net.shape_hidden, net.shape_hidden_bias[None])
        """[H, H + 1] of s1 and 1."""
        self.shape_location = {
            kind: weights * np.float32(SHAPE_UNIT / UNIT) for kind, weights in net.shape_location.items()
        }
        """[H] of s2."""


class BandContext:
    """Locations and scales of a colour of a layer at one quantization step, pass by pass; `classes` scale classes."""

    def __init__(self, net: BandNet, layer: LayerBands, known: KnownValues, step: int, classes: int) -> None:
        self.net, self.layer, self.known, self.step, self.classes = net, layer, known, step, classes
        self._memory = threading.local()

    def predict(self, part: Pass) -> Prediction:
        """Prediction for a pass from the values before it."""
        net, shape = self.net, self.known.positions(part)
        level = self.layer.level_numbers.index(part.band.level)
        first = net.scaled.first[part.kind].copy()
        first[:, -1] = (net.bias[part.kind] + net.level[level] + net.step[self.step]) * np.float32(1 / 256)
        constant = float(net.scale_kind[part.kind][0] + net.scale_level[level] + net.scale_step[self.step])
        low = part.band.name == "low"
        at = np.arange(shape[0] * shape[1]) if low else self.known.active(part)
        one = np.ones((1 + len(first), 1), np.float32)
        one[1:] = np.floor(first[:, -1:]).clip(0, MOST)
        (quiet,) = self._classes(net.scaled.hidden, one, constant)
        location, scale = np.zeros(len(at), np.int32), np.zeros(len(at), np.int32)
        of_kind = self._low if low else self._detail
        count = parts_of(len(at))

        def predict_some(i: int) -> None:
            some = slice(len(at) * i // count, len(at) * (i + 1) // count)
            location[some], scale[some] = of_kind(part, at[some], first, constant)

        if count:
            self.known.prepare(part)
        share_out(predict_some, count)
        return Prediction(part, shape, at, location, scale, int(quiet))

    def _array(self, name: str, rows: int, columns: int) -> np.ndarray:
        """Array float32 [rows, columns] in memory that the thread uses again: new memory takes as long as products."""
        memory: dict[str, np.ndarray] = self._memory.__dict__
        if name not in memory or memory[name].size < rows * columns:
            memory[name] = np.empty(rows * CHUNK, np.float32)
        return memory[name][: rows * columns].reshape(rows, columns)

    def _low(self, part: Pass, at: np.ndarray, first: np.ndarray, constant: float) -> tuple[np.ndarray, np.ndarray]:
        """`_detail` for the band `low`."""
        hidden, n_inputs = len(first), first.shape[1] - 1
        values = np.empty((n_inputs, len(at)), np.float32)
        given = np.ones((n_inputs + 1 + hidden, len(at)), np.float32)
        self.known.gather(part, at, values, given[:n_inputs])
        location = self._linear(part.kind, values).clip(-8 * LARGEST, 8 * LARGEST)
        np.multiply(log_value(values - np.floor((location + 4) / 8)), np.float32(SIZE), out=given[:n_inputs])
        _limited(np.matmul(first, given[: n_inputs + 1], out=given[n_inputs + 1 :]))
        return location, self._classes(self.net.scaled.hidden, given[n_inputs:], constant)

    def _detail(self, part: Pass, at: np.ndarray, first: np.ndarray, constant: float) -> tuple[np.ndarray, np.ndarray]:
        """Locations and scale classes float32 [N] of positions int64 [N] of a pass.

        Args:
            part: the pass.
            at: the positions.
            first: weights [H, F + 1] of sizes and 1 in h1.
            constant: constant of the scale.
        """
        net, kind, n, (hidden, one) = self.net, part.kind, len(at), (len(first), first.shape[1] - 1)
        # Rows of the inputs of products: sizes, 1, h1, shape. In the end the first of the shape are s2.
        before = one + 1 + hidden
        n_shape = one + len(AROUND)
        given = self._array("given", before + max(n_shape, hidden), n)
        h1, u, s2 = given[one + 1 : before], given[before : before + n_shape], given[before : before + hidden]
        self.known.gather(part, at, u, given[:one])
        given[one] = 1
        _limited(np.matmul(first, given[: one + 1], out=h1))
        location = self._linear(kind, u)
        most, negative = largest_of(u, self._array("keys", n_shape, n))
        ratio = np.floor(MOST * RATIO / most) * np.float32(1 / RATIO)
        u *= np.negative(ratio, out=ratio, where=negative)
        u += np.float32(0.5)
        np.floor(u, out=u)
        s1 = self._array("s1", hidden + 1, n)
        s1[hidden] = 1
        _limited(np.matmul(net.scaled.shape_first[kind], given[one : before + n_shape], out=s1[:hidden]))
        _limited(np.matmul(net.scaled.shape_hidden, s1, out=s2), s1[:hidden])
        shape = net.scaled.shape_location[kind] @ s2
        shape += np.float32(0.5)
        np.floor(shape, out=shape).clip(-MOST_SHAPE, MOST_SHAPE, out=shape)
        shape *= np.minimum(most, np.float32(MOST_SLOPE))
        shape *= np.float32(8 / SHAPE_UNIT)
        shape += np.float32(0.5)
        np.floor(shape, out=shape)
        location += np.negative(shape, out=shape, where=negative)
        scale = self._classes(net.scaled.hidden_of_shape, given[one : before + hidden], constant)
        return location.clip(-8 * LARGEST, 8 * LARGEST, out=location), scale

    def _linear(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Locations float32 [N] in 1/8 steps from the inputs [F, N]."""
        linear = self.net.linear.get(kind)
        if linear is None:
            return np.zeros(values.shape[1], np.float32)
        sums = linear @ values[: len(linear)] + np.float32(LOCATION_UNIT // 16)
        found: np.ndarray = np.floor(sums * np.float32(8 / LOCATION_UNIT))
        return found

    def _classes(self, weights: np.ndarray, given: np.ndarray, constant: float) -> np.ndarray:
        """Weights of the inputs 1, h1 and so on, `given` -> scale classes float32 [N]."""
        hidden = len(weights)
        h2 = self._array("h2", hidden, given.shape[1])
        _limited(np.matmul(weights, given, out=h2), given[1 : 1 + hidden])
        found = np.floor((self.net.scale @ h2 + np.float32(constant + UNIT // 16)) * np.float32(8 / UNIT))
        return found.clip(0, self.classes - 1)


def parts_of(n: int) -> int:
    """Number of parts for `n` positions: at most CHUNK each; a multiple of the threads while they have LEAST each."""
    least, threads = -(-n // CHUNK), thread_count()
    return max(least, min(-(-least // threads) * threads, n // LEAST))


def _limited(sums: np.ndarray, before: np.ndarray | None = None) -> None:
    """clip(before + floor(sums)), in place."""
    np.floor(sums, out=sums)
    if before is not None:
        sums += before
    sums.clip(0, MOST, out=sums)


def largest_of(x: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers float32 [F, N] -> largest absolute value [N], and True [N] where the first such is negative.

    `keys` [F, N] is overwritten.
    """
    # Keys of a value and, in 1/ROWS, its distance from the last row: one maximum finds both.
    last = ROWS - 1
    np.abs(x, out=keys)
    keys += np.arange(last, last - len(x), -1, dtype=keys.dtype)[:, None] / ROWS
    largest = keys.max(0)
    if largest.max(initial=0) >= EXACT / ROWS and keys.dtype != np.float64:
        return largest_of(x, np.empty(x.shape, np.float64))
    most = np.floor(largest)
    row = last - ((largest - most) * ROWS).astype(np.int64)
    return most.astype(np.float32), x.reshape(-1).take(row * x.shape[1] + np.arange(x.shape[1])) < 0


def digest_of(tensors: Mapping[str, np.ndarray]) -> bytes:
    """SHA-256 over names and values, independent of the order and of the integer type."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name], dtype="<i4")
        digest.update(f"{name} {value.shape}".encode() + value.tobytes())
    return digest.digest()
