"""Network of the scalar context model: location and scale of the values of a layer, in integers.

For each position of a pass

    inputs    round(18 log2(1 + |v|)) of coded values v: of earlier layers at the position and around it, and of the
              layer's own neighbours (their differences from the location, in layers of up to FEW channels)
    hidden    h1 = clip(floor((inputs . W1 + b1) / 256)),  h2 = clip(h1 + floor((h1 . W2 + b2) / 256)),  clip to 0..127
    location  linear in the channel's coded neighbours and in the first channels of earlier layers, in 1/8 steps
    scale     class 0..63, linear in h2 and in the spread of the channel's coded neighbours

Weights are int16, inputs and activations at most 127 in absolute value, and every sum stays below 2**24: exact in
float32 in any order of summation, so every machine gives the same result.

Legend: N positions, n channels of the layer, D channels of all layers, H hidden units, F inputs from earlier layers,
K neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..config.quantizers import LARGEST, STEPS
from .scalar_order import CHECKERBOARD_KINDS, LEVELS, PYRAMID_KINDS, Pass, passes, seen

EXACT = 2**24
"""Integers below this are exact in float32."""
MOST = 127
"""Largest absolute value of inputs and activations."""
UNIT = 4096
"""Unit of sums is 1/UNIT; that of W1 and W2 is 1/256, that of inputs and activations 1/16."""
LOCATION_UNIT = 512
"""Unit of the weights of the location is 1/LOCATION_UNIT, coarser because values are larger than inputs."""
STRONG = 16
"""First channels, whose values at 3x3 positions are inputs of later layers with their sign."""
CROSS = 10
"""First channels, whose values at 3x3 positions enter the location of later layers."""
LOCATED = 8
"""First layers, whose location depends on earlier channels."""
FEW = 4
"""Layers of up to FEW channels have each coded neighbour of their own as an input; wider layers have sums of them."""


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


def inputs_of(width: int, before: int) -> int:
    """Inputs that a layer of `width` channels gives to later layers; `before` channels are in earlier layers."""
    return width + 9 + 9 * max(0, min(width, STRONG - before))


def around(plane: np.ndarray) -> np.ndarray:
    """[n, h, w] -> values at the 3x3 positions around each, row by row, 0 beyond the border: [9 n, h * w]."""
    n, h, w = plane.shape
    wide = np.zeros((n, h + 2, w + 2), np.float32)
    wide[:, 1:-1, 1:-1] = plane
    parts = [wide[:, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
    return np.stack(parts).reshape(9 * n, h * w)


@dataclass(frozen=True)
class LayerNet:
    """Weights of one layer, float32 arrays that hold integers; a dict has an array for each kind of pass."""

    start: int
    """Number of channels in earlier layers."""
    width: int
    """Number of channels, n."""
    first: np.ndarray
    """W1 [F, H]."""
    own: dict[str, np.ndarray]
    """[inputs from the layer itself, H]."""
    bias: dict[str, np.ndarray]
    """b1 [H]."""
    level: np.ndarray
    """[LEVELS, H], added to b1."""
    step: np.ndarray
    """[STEPS, H], added to b1."""
    hidden: np.ndarray
    """W2 [H, H]."""
    hidden_bias: np.ndarray
    """b2 [H]."""
    scale: np.ndarray
    """W3 [H, n]."""
    scale_kind: dict[str, np.ndarray]
    """[n]."""
    scale_level: np.ndarray
    """[LEVELS, n]."""
    scale_step: np.ndarray
    """[STEPS, n]."""
    spread: dict[str, np.ndarray]
    """[2, n], weights of the spread of near and of far neighbours in the scale."""
    linear: dict[str, np.ndarray]
    """[K, n], weights of neighbours in the location."""
    linear_bias: np.ndarray
    """[n]."""
    cross: np.ndarray
    """[9 min(start, CROSS), n], weights of earlier channels in the location; [0, n] for none."""

    @property
    def pyramid(self) -> bool:
        """True for layers coded in pyramid order."""
        return "diagonal" in self.bias


def read_layer(
    take: Callable[[str, Sequence[int]], np.ndarray], widths: Sequence[int], k: int, pyramid: bool, hidden: int
) -> LayerNet:
    """The net of layer k of `widths`; `take(name, shape)` returns an integer tensor or raises ValueError.

    Raises ValueError for weights whose sums may leave the exact range.
    """
    start, n = sum(widths[:k]), widths[k]
    n_inputs = sum(inputs_of(widths[i], sum(widths[:i])) for i in range(k))
    kinds = PYRAMID_KINDS if pyramid else CHECKERBOARD_KINDS
    later = [kind for kind in kinds if kind != "first"]
    n_own = {kind: n * (len(seen(kind)) if n <= FEW else 2) for kind in later}
    crossed = 9 * min(start, CROSS) if k < LOCATED else 0
    net = LayerNet(
        start,
        n,
        take("first", (n_inputs, hidden)),
        {kind: take(f"own.{kind}", (n_own[kind], hidden)) for kind in later},
        {kind: take(f"bias.{kind}", (hidden,)) for kind in kinds},
        take("level", (LEVELS, hidden)),
        take("step", (STEPS, hidden)),
        take("hidden", (hidden, hidden)),
        take("hidden_bias", (hidden,)),
        take("scale", (hidden, n)),
        {kind: take(f"scale_kind.{kind}", (n,)) for kind in kinds},
        take("scale_level", (LEVELS, n)),
        take("scale_step", (STEPS, n)),
        {kind: take(f"spread.{kind}", (2, n)) for kind in later},
        {kind: take(f"linear.{kind}", (len(seen(kind)), n)) for kind in later},
        take("linear_bias", (n,)),
        take("cross", (crossed, n)) if crossed else np.zeros((0, n), np.float32),
    )
    _check_sums(net)
    return net


def _check_sums(net: LayerNet) -> None:
    """Raise ValueError where a sum of products could reach EXACT."""

    def size(*parts: np.ndarray) -> np.ndarray:
        return np.sum([np.abs(part).sum(0) for part in parts], 0)

    for kind, bias in net.bias.items():
        own = net.own.get(kind, np.zeros((0, len(bias)), np.float32))
        offsets = np.abs(bias) + np.abs(net.level).max(0) + np.abs(net.step).max(0)
        scale = np.abs(net.scale_kind[kind]) + np.abs(net.scale_level).max(0) + np.abs(net.scale_step).max(0)
        linear = net.linear.get(kind, np.zeros((0, net.width), np.float32))
        for what, sums in (
            ("first layer", MOST * size(net.first, own) + offsets),
            ("hidden layer", MOST * size(net.hidden) + np.abs(net.hidden_bias)),
            ("scale", MOST * size(net.scale, net.spread.get(kind, linear[:0])) + scale),
            ("location", LARGEST * size(linear, net.cross) + np.abs(net.linear_bias)),
        ):
            if sums.max(initial=0) >= EXACT:
                raise ValueError(f"{what}: sums up to {sums.max():.0f} are beyond the exact {EXACT}")


@cache
def _rings(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Masks, bool [K], of the neighbours `seen(kind)`: those among the nearest 8, and those beyond (all if none is)."""
    inside = np.array([max(abs(dy), abs(dx)) == 1 for dy, dx in seen(kind)])
    return inside, inside if inside.all() else ~inside


class LayerContext:
    """Locations and scales of one layer of a tile at one quantization step, pass by pass."""

    def __init__(self, net: LayerNet, known: KnownValues, step: int) -> None:
        self.net, self.values, self.step = net, known.values, step
        n_inputs = len(net.first)
        self.earlier = known.inputs[:n_inputs].T @ net.first + net.step[step]
        """Terms of earlier layers in h1, [positions, H]."""
        self.shift = known.strong[: len(net.cross)].T @ net.cross + net.linear_bias
        """Terms of earlier channels in the location, [positions, n]."""

    def predict(self, part: Pass) -> tuple[np.ndarray, np.ndarray]:
        """Locations in 1/8 steps and scale classes int64 [n, N] of the positions of a pass."""
        net, kind = self.net, part.kind
        sums = self.earlier[part.positions] + (net.bias[kind] + net.level[part.level])
        location = self.shift[part.positions]
        scale = net.scale_kind[kind] + net.scale_level[part.level] + net.scale_step[self.step]
        if kind != "first":
            own = self.values[net.start : net.start + net.width]
            near = own[:, part.neighbours]  # [n, K, N]
            location = location + np.einsum("nkp,kn->pn", near, net.linear[kind])
        eighths = np.floor((location + LOCATION_UNIT // 16) * (8 / LOCATION_UNIT)).clip(-8 * LARGEST, 8 * LARGEST)
        if kind != "first":
            difference = near - np.floor((eighths + 4) / 8).T[:, None]
            spreads = [log_size(np.abs(difference[:, which]).sum(1)) for which in _rings(kind)]
            fine = log_value(difference).reshape(-1, len(part.positions))
            inputs = fine if net.width <= FEW else np.concatenate(spreads)
            sums = sums + inputs.T @ net.own[kind]
            scale = scale + spreads[0].T * net.spread[kind][0] + spreads[1].T * net.spread[kind][1]
        h1 = np.floor(sums / 256).clip(0, MOST)
        h2 = (h1 + np.floor((h1 @ net.hidden + net.hidden_bias) / 256)).clip(0, MOST)
        classes = np.floor((h2 @ net.scale + scale + UNIT // 16) * (8 / UNIT))
        return eighths.T.astype(np.int64), classes.T.astype(np.int64)


class KnownValues:
    """Coded values of a tile, and the inputs of later layers made of them."""

    def __init__(self, widths: Sequence[int], shape: tuple[int, int]) -> None:
        self.widths, self.shape = tuple(widths), shape
        n_inputs = sum(inputs_of(width, sum(widths[:k])) for k, width in enumerate(widths))
        size = shape[0] * shape[1]
        self.values = np.zeros((sum(widths), size), np.float32)
        """float32 [D, h * w], 0 where not yet coded."""
        self.inputs = np.zeros((n_inputs, size), np.float32)
        """[inputs of all layers, h * w], 0 for layers not yet coded."""
        self.strong = np.zeros((9 * CROSS, size), np.float32)
        """3x3 positions around each of the first CROSS channels, channel by channel."""
        self.mode = 0
        """Mode of the previous layer, see scalar_context.py."""
        self._next = 0

    def end_layer(self, k: int) -> None:
        """Compute the inputs that layer k, now coded, gives later layers."""
        start, n = sum(self.widths[:k]), self.widths[k]
        part = self.values[start : start + n]
        grid = part.reshape(n, *self.shape)
        parts = [log_size(part), around(log_size(np.abs(grid).sum(0, keepdims=True)))]
        if start < STRONG:
            parts.append(around(log_value(grid[: STRONG - start])))
        for rows in parts:
            self.inputs[self._next : self._next + len(rows)] = rows
            self._next += len(rows)
        for c in range(start, min(start + n, CROSS)):
            self.strong[9 * c : 9 * c + 9] = around(self.values[c : c + 1].reshape(1, *self.shape))


def layer_passes(net: LayerNet, shape: tuple[int, int]) -> tuple[Pass, ...]:
    """The passes of a layer over a tile of `shape`."""
    return passes(shape, net.pyramid)


def digest_of(tensors: Mapping[str, np.ndarray]) -> bytes:
    """SHA-256 over names and values, independent of the order and of the integer type."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name], dtype="<i4")
        digest.update(f"{name} {value.shape}".encode() + value.tobytes())
    return digest.digest()
