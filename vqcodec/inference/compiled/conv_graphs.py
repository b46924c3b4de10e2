"""Graphs of the convolutional networks (backbones/conv.py) for OpenVINO: encoder, decoder, gradient of the decoder.

Blocks run in the element type `kind`, float32 or bfloat16. The linear path and the sums with it are float32 always,
because bfloat16 would round away small differences of the strong channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from openvino import Model, Node, Type, opset13

from ...config.backbones import FINEST_STRIDE, ConvConfig
from .operations import Weights, add, cast, constant, multiply, shuffle, silu, silu_gradient, subtract, unshuffle

HALF_RANGE = 127.5
"""8-bit levels per unit of the networks' pixel scale, -1..1."""


def encoder_graph(config: ConvConfig, weights: Weights, grid: tuple[int, int], kind: Type) -> Model:
    """Pixels uint8 [1, H, W, 3] of a grid (h, w) -> latent float32 [1, D, h, w]."""
    stride = FINEST_STRIDE * 2 ** (len(config.widths) - 1)
    pixels = opset13.parameter([1, grid[0] * stride, grid[1] * stride, 3], Type.u8)
    x = unit_pixels(pixels)
    y = weights.conv(cast(unshuffle(x, FINEST_STRIDE), kind), "encoder.stem")
    for i, depth in enumerate(config.encoder_depths):
        if i:
            y = weights.conv(y, f"encoder.downs.{i - 1}", stride=2)
        for j in range(depth):
            y = _block(weights, y, f"encoder.stages.{i}.{j}")[0]
    z = cast(weights.conv(silu(y), "encoder.head"), Type.f32)
    if config.linear_path:
        z = add(z, weights.conv(unshuffle(x, stride), "encoder.linear"))
    return Model([z], [pixels])


def decoder_graph(config: ConvConfig, weights: Weights, channels: int, grid: tuple[int, int], kind: Type) -> Model:
    """Decoder's input float32 [1, channels, h, w], latent and keep map -> pixels uint8 [1, H, W, 3]."""
    z = opset13.parameter([1, channels, *grid], Type.f32)
    y = Decoding(config, weights, z, kind).pixels
    levels = multiply(add(opset13.clamp(y, -1.0, 1.0), constant([1.0])), constant([HALF_RANGE]))
    rows = opset13.transpose(opset13.round(levels), opset13.constant(np.array([0, 2, 3, 1])))
    return Model([opset13.convert(rows, Type.u8)], [z])


def unit_pixels(pixels: Node) -> Node:
    """Pixels uint8 [1, H, W, 3] -> float32 [1, 3, H, W] in -1..1."""
    planar = opset13.transpose(opset13.convert(pixels, Type.f32), opset13.constant(np.array([0, 3, 1, 2])))
    return subtract(opset13.divide(planar, constant([HALF_RANGE])), constant([1.0]))


@dataclass
class Decoding:
    """Nodes of the decoder, and of its gradient.

    Args:
        config: the backbone.
        weights: its layers.
        z: input float32 [1, D + G, h, w]: latent and keep map.
        kind: element type of the blocks.
    """

    config: ConvConfig
    weights: Weights
    z: Node
    kind: Type
    pixels: Node = field(init=False)
    """Output float32 [1, 3, H, W], about -1..1, not clamped."""

    def __post_init__(self) -> None:
        weights, widths = self.weights, self.config.widths
        self._backwards: list[Callable[[Node], Node]] = []
        """Gradient in the input of each part of the trunk, given that in its output, in forward order."""
        x = weights.conv(cast(self.z, self.kind), "decoder.head")
        for i in reversed(range(len(widths))):
            for j in range(self.config.decoder_depths[i]):
                x, backward = _block(weights, x, f"decoder.stages.{i}.{j}")
                self._backwards.append(backward)
            if i:
                x = shuffle(weights.conv(x, f"decoder.ups.{i - 1}"), 2)
                self._backwards.append(_up_gradient(weights, f"decoder.ups.{i - 1}"))
        self._trunk = x
        self.pixels = shuffle(cast(weights.conv(silu(x), "decoder.tail"), Type.f32), FINEST_STRIDE)
        if self.config.linear_path:
            self.pixels = add(self.pixels, shuffle(weights.conv(self.z, "decoder.linear"), self._stride))

    @property
    def _stride(self) -> int:
        return FINEST_STRIDE * 2 ** (len(self.config.widths) - 1)

    def gradient(self, by_pixels: Node) -> Node:
        """Derivative in z, given that in `pixels`."""
        weights = self.weights
        tail = weights.conv_gradient(cast(unshuffle(by_pixels, FINEST_STRIDE), self.kind), "decoder.tail")
        g = silu_gradient(tail, self._trunk)
        for backward in reversed(self._backwards):
            g = backward(g)
        found = cast(weights.conv_gradient(g, "decoder.head"), Type.f32)
        if self.config.linear_path:
            found = add(found, weights.conv_gradient(unshuffle(by_pixels, self._stride), "decoder.linear"))
        return found


def _up_gradient(weights: Weights, name: str) -> Callable[[Node], Node]:
    """Gradient in the input of a convolution with shuffle, as a function of that in its output."""
    return lambda g: weights.conv_gradient(unshuffle(g, 2), name)


def _block(weights: Weights, x: Node, name: str) -> tuple[Node, Callable[[Node], Node]]:
    """Residual block x + conv2(silu(conv1(silu(x)))), and its gradient in x as a function of that in its output."""
    inner = weights.conv(silu(x), f"{name}.conv1")

    def backward(g: Node) -> Node:
        by_inner = silu_gradient(weights.conv_gradient(g, f"{name}.conv2"), inner)
        return add(g, silu_gradient(weights.conv_gradient(by_inner, f"{name}.conv1"), x))

    return add(x, weights.conv(silu(inner), f"{name}.conv2")), backward
