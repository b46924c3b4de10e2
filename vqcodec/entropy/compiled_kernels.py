"""Kernel of the context network in 8-bit integers, compiled by OpenVINO; equal to `ExactKernel`, and faster.

The graph has the form of a network quantized to 8 bits, which OpenVINO multiplies in int8 with sums in int32. Compiling
takes tens of milliseconds a plane, so it is for many positions only (`ContextModel.choose_kernels`). Processors without
instructions for int8 products saturate sums of two: there the kernel is not used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from openvino import Model, Node, Type, opset13

from ..runtime.compilation import InlineCompiled
from .context_kernels import LOOKUP, PlaneNet, looked_up, pairs_of

INPUT_STEP = 0.5
"""Step that the graph states for inputs, so that its multiplication is not optimised away; weights hold the inverse."""


class Int8Kernel:
    """int8 products, sums in int32; products for several threads run one after another.

    It serves the passes of the grids of `own`, one of `net.own`.
    """

    def __init__(self, net: PlaneNet, lut: np.ndarray, own: np.ndarray) -> None:
        self.pairs = pairs_of(lut)
        self.bias1, self.bias3 = net.bias1 * net.scale1, net.bias3 * net.scale3
        self.graph = InlineCompiled(_graph(net, own))

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p -> frequencies float32 [N, K]."""
        below = self.graph(np.ascontiguousarray(x), self.bias1[p : p + 1], self.bias3[p : p + 1])
        return looked_up(self.pairs, below.astype(np.uint8))  # OpenVINO's conversion takes several times as long


def int8_is_exact() -> bool:
    """True for processors whose int8 products do not saturate, as far as numpy reports their instructions."""
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])  # absent without dispatch
    return any(name in found for name in ("AVX512_ICL", "AVX512_SPR", "ASIMDDP", "SVE"))


def check_inputs(net: PlaneNet, own: np.ndarray) -> np.ndarray:
    """Inputs int8 [N, I] on which kernels are compared: mixed values, and the largest sums of every hidden unit."""
    weights = np.concatenate([net.around, own])
    largest = np.where(weights.T > 0, 127, -127)
    n = np.arange(64 * len(weights)).reshape(64, -1)
    return np.concatenate([(n * n * 31 + 7 * n) % 255 - 127, largest, -largest]).astype(np.int8)


def _graph(net: PlaneNet, own: np.ndarray) -> Model:
    """(x int8 [N, I], b1 [1, H], b3 [1, K]) -> logits below the largest, float32 [N, K] in 0..255."""
    x = opset13.parameter([-1, len(net.around) + len(own)], Type.i8)
    bias1, bias3 = (opset13.parameter([1, size], Type.f32) for size in net.out.shape)
    known = opset13.multiply(opset13.convert(x, Type.f32), _constant([[INPUT_STEP]]))
    first = _product(known, np.concatenate([net.around, own]), net.scale1)
    h1 = opset13.clamp(opset13.floor(opset13.add(first, bias1)), 0.0, 127.0)
    second = opset13.add(_product(_activation(h1), net.hidden, net.scale2), _constant(net.bias2 * net.scale2))
    h2 = opset13.clamp(opset13.add(opset13.floor(second), h1), 0.0, 127.0)
    logits = opset13.floor(opset13.add(_product(_activation(h2), net.out, net.scale3), bias3))
    below = opset13.subtract(opset13.reduce_max(logits, opset13.constant(np.array([1])), keep_dims=True), logits)
    return Model([opset13.minimum(below, _constant([[LOOKUP - 1]]))], [x, bias1, bias3])


def _product(x: Node, weights: np.ndarray, scale: np.ndarray) -> Node:
    """x [N, I] @ int8 weights [I, O] * scale [O]."""
    if abs(weights).max(initial=0) > 127:
        raise RuntimeError("weights beyond int8")
    values = opset13.convert(opset13.constant(weights.astype(np.int8)), Type.f32)
    return opset13.matmul(x, opset13.multiply(values, _constant(scale[None] / INPUT_STEP)), False, False)


def _activation(h: Node) -> Node:
    """Integers 0..127 as values of 8 bits with INPUT_STEP."""
    ends = [_constant([[end]]) for end in (0, 255, 0, 255 * INPUT_STEP)]
    return opset13.fake_quantize(h, *ends, 256)


def _constant(values: ArrayLike) -> Node:
    return opset13.constant(np.array(values, np.float32, ndmin=2, order="C"))
