"""Kernels of the context network of one plane: inputs int8 -> rows of integer frequencies, equal for every kernel.

`ExactKernel` is plain numpy. The others need torch and are used only where their frequencies on a fixed input are equal
to its own (`ContextModel.choose_kernels`). All sums are integers below 2**24, exact in int32 and in float32. The
network itself is described in context_model.py.

Legend: N positions, I inputs, H hidden units, K symbols, p pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

LOOKUP = 256
"""Entries of the table from logit differences, in 1/16 bit, to frequencies."""


@dataclass(frozen=True)
class PlaneNet:
    """Network of one plane, as float32 arrays that hold integers."""

    embedding: np.ndarray
    """[K + 2, 8]; row K is that of a symbol not yet coded, row K + 1 that of a position outside the tile."""
    around: np.ndarray
    """W1 of inputs from earlier planes, [8 * inputs, H]."""
    own: np.ndarray
    """W1 of inputs from the plane itself, [24 * 8, H]."""
    bias1: np.ndarray
    """b1 [4, H], one row for each pass."""
    scale1: np.ndarray
    """s1 [H]; all scales are powers of two."""
    hidden: np.ndarray
    """W2 [H, H]."""
    bias2: np.ndarray
    """b2 [H]."""
    scale2: np.ndarray
    """s2 [H]."""
    out: np.ndarray
    """W3 [H, K]."""
    bias3: np.ndarray
    """b3 [4, K], one row for each pass."""
    scale3: np.ndarray
    """s3 [K]."""


class Kernel(Protocol):
    """Frequencies of one plane."""

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p, earlier planes first -> frequencies float32 [N, K], a new array."""


class ExactKernel:
    """numpy, in the dtype of the network's arrays; the reference of the other kernels."""

    def __init__(self, net: PlaneNet, lut: np.ndarray) -> None:
        self.net, self.lut = net, lut
        self.first = np.concatenate([net.around, net.own])

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p -> frequencies float32 [N, K]."""
        net = self.net
        h1 = x.astype(self.first.dtype) @ self.first + net.bias1[p]
        _floored(h1, net.scale1).clip(0, 127, out=h1)
        h2 = h1 @ net.hidden + net.bias2
        h2 = (h1 + _floored(h2, net.scale2)).clip(0, 127)
        logits = h2 @ net.out
        logits += net.bias3[p]
        _floored(logits, net.scale3)
        np.subtract(logits.max(-1, keepdims=True), logits, out=logits)
        return self.lut[logits.clip(0, LOOKUP - 1, out=logits).astype(np.uint8)]


class FloatKernel:
    """torch, float32. Scales are multiplied into the weights: products with a power of two stay exact."""

    def __init__(self, net: PlaneNet, lut: np.ndarray) -> None:
        self.pairs = _pairs(lut)
        self.first = _tensor(np.concatenate([net.around, net.own]) * net.scale1)
        self.bias1 = [_tensor(row) for row in net.bias1 * net.scale1]
        self.hidden, self.bias2 = _tensor(net.hidden * net.scale2), _tensor(net.bias2 * net.scale2)
        self.out = _tensor(net.out * net.scale3)
        self.bias3 = [_tensor(row) for row in net.bias3 * net.scale3]

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p -> frequencies float32 [N, K]."""
        import torch

        with torch.inference_mode():
            h1 = torch.addmm(self.bias1[p], torch.from_numpy(x).float(), self.first).floor_().clamp_(0, 127)
            h2 = torch.addmm(self.bias2, h1, self.hidden).floor_().add_(h1).clamp_(0, 127)
            logits = torch.addmm(self.bias3[p], h2, self.out).floor_()
            below = torch.sub(logits.amax(1, keepdim=True), logits, out=logits).clamp_max_(LOOKUP - 1)
            return _looked_up(self.pairs, below.to(torch.int32).to(torch.uint8).numpy())


class Int8Kernel:
    """torch, int8 products summed in int32. The matrix product is private to torch: it may be absent or differ."""

    def __init__(self, net: PlaneNet, lut: np.ndarray) -> None:
        import torch

        self.pairs = _pairs(lut)
        self.first, self.hidden, self.out = (
            _tensor(_int8(weights)) for weights in (np.concatenate([net.around, net.own]), net.hidden, net.out)
        )
        self.bias1, self.bias3 = ([_tensor(row.astype(np.int32)) for row in bias] for bias in (net.bias1, net.bias3))
        self.bias2 = _tensor(net.bias2.astype(np.int32))
        self.shift1, self.shift2, self.shift3 = (
            _tensor(1 - np.frexp(scale)[1].astype(np.int32)) for scale in (net.scale1, net.scale2, net.scale3)
        )
        self.multiply: Callable[..., Any] = torch._int_mm  # noqa: SLF001

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p -> frequencies float32 [N, K]."""
        import torch

        with torch.inference_mode():
            h1 = self.multiply(torch.from_numpy(x), self.first).add_(self.bias1[p])
            h1.bitwise_right_shift_(self.shift1).clamp_(0, 127)
            h2 = self.multiply(h1.to(torch.int8), self.hidden).add_(self.bias2)
            h2.bitwise_right_shift_(self.shift2).add_(h1).clamp_(0, 127)
            logits = self.multiply(h2.to(torch.int8), self.out).add_(self.bias3[p])
            logits.bitwise_right_shift_(self.shift3)
            below = torch.sub(logits.amax(1, keepdim=True), logits, out=logits).clamp_max_(LOOKUP - 1)
            return _looked_up(self.pairs, below.to(torch.uint8).numpy())


FAST: tuple[Callable[[PlaneNet, np.ndarray], Kernel], ...] = (Int8Kernel, FloatKernel)
"""Fastest first."""


def _floored(sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """floor(sums * scale), in place."""
    sums *= scale
    return np.floor(sums, out=sums)


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))


def _int8(weights: np.ndarray) -> np.ndarray:
    if abs(weights).max(initial=0) > 127:
        raise RuntimeError("weights beyond int8")
    return weights.astype(np.int8)


def _pairs(lut: np.ndarray) -> np.ndarray:
    """Table that looks up two entries at once: uint64 [2**16], two float32 each; a uint16 index holds two uint8."""
    both = np.arange(2**16, dtype=np.uint16).view(np.uint8)
    return lut.astype(np.float32)[both].view(np.uint64)


def _looked_up(pairs: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Logit differences uint8 [N, K] -> frequencies float32 [N, K]."""
    if below.shape[1] % 2:
        wide = np.concatenate([below, np.zeros_like(below[:, :1])], 1)
        return _looked_up(pairs, wide)[:, :-1]
    return pairs.take(below.view(np.uint16)).view(np.float32)
