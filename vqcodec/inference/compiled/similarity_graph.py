"""Graph of the dissimilarity 1 - MS-SSIM of two pictures and of its gradient (Wang, Simoncelli and Bovik 2003).

At every scale, with G a Gaussian filter of WINDOW positions without padding and C1, C2 the constants of SSIM:

    mx = G x    my = G y    vx = G x^2 - mx^2    vy = G y^2 - my^2    vxy = G xy - mx my
    cs = (2 vxy + C2) / (vx + vy + C2)           l = (2 mx my + C1) / (mx^2 + my^2 + C1)

The measure of a scale is the mean of cs over positions, at the coarsest scale that of l cs; MS-SSIM is the product of
the measures to the power of their weights, averaged over channels. The gradient is written out backwards: the adjoint
of G is G with zero padding, because the filter is symmetric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from openvino import Node, opset13

from .operations import add, constant, divide, multiply, subtract

WINDOW, SIGMA = 11, 1.5
"""Positions and standard deviation of the Gaussian filter."""
C1, C2 = 0.01**2, 0.03**2
"""Constants of SSIM for values in 0..1."""
LEAST = 1e-12
"""Lower bound of the measure of a scale as a divisor."""


class Similarity(NamedTuple):
    """Nodes of the dissimilarity."""

    dissimilarity: Node
    """Scalar [1, 1, 1, 1], 0..1."""
    gradient: Node
    """Derivative of it in y, of the shape of y."""


class _Scale(NamedTuple):
    """Nodes of one scale that its gradient needs."""

    x: Node
    y: Node
    mean_x: Node
    mean_y: Node
    spread: Node
    """vx + vy + C2."""
    cs: Node
    light: Node
    """l."""
    measure: Node
    """[1, C, 1, 1], at least 0."""


def similarity(y: Node, x: Node, shape: tuple[int, int], weights: Sequence[float]) -> Similarity:
    """Nodes for pictures y and x, [1, C, H, W] in 0..1, with one of `weights` for each scale, finest first.

    `shape` is (H, W), both at least WINDOW at the coarsest scale. Every scale has half the sides of the one before it.
    """
    shapes, scales = [shape], list[_Scale]()
    for number in range(len(weights)):
        scales.append(_scale(x, y, is_last=number == len(weights) - 1))
        if number < len(weights) - 1:
            x, y = halved(x, shapes[-1]), halved(y, shapes[-1])
            shapes.append(half(shapes[-1]))
    product = constant(np.ones((1, 1, 1, 1)))
    for scale, weight in zip(scales, weights, strict=True):
        product = multiply(product, opset13.power(scale.measure, constant(np.full((1, 1, 1, 1), weight))))
    mean = opset13.reduce_mean(product, opset13.constant(np.array([1])), keep_dims=True)
    gradient = None
    for number in reversed(range(len(weights))):
        h, w = shapes[number]
        positions = (h - WINDOW + 1) * (w - WINDOW + 1)
        share = constant(np.full((1, 1, 1, 1), -weights[number] / _channels(y) / positions))
        by_measure = multiply(share, divide(product, opset13.maximum(scales[number].measure, constant([LEAST]))))
        here = _scale_gradient(scales[number], by_measure, is_last=number == len(weights) - 1)
        gradient = here if gradient is None else add(here, doubled(gradient, shapes[number]))
    assert gradient is not None
    return Similarity(subtract(constant(np.ones((1, 1, 1, 1))), mean), gradient)


def _scale(x: Node, y: Node, is_last: bool) -> _Scale:
    maps = [x, y, multiply(x, x), multiply(y, y), multiply(x, y)]
    mean_x, mean_y, xx, yy, xy = _filtered(maps, padding=0)
    squares = add(multiply(mean_x, mean_x), multiply(mean_y, mean_y))
    product = multiply(mean_x, mean_y)
    spread = add(subtract(add(xx, yy), squares), constant([C2]))
    cs = divide(add(multiply(constant([2.0]), subtract(xy, product)), constant([C2])), spread)
    light = divide(add(multiply(constant([2.0]), product), constant([C1])), add(squares, constant([C1])))
    found = multiply(light, cs) if is_last else cs
    measure = opset13.relu(opset13.reduce_mean(found, opset13.constant(np.array([2, 3])), keep_dims=True))
    return _Scale(x, y, mean_x, mean_y, spread, cs, light, measure)


def _scale_gradient(scale: _Scale, by_measure: Node, is_last: bool) -> Node:
    """Derivative in y, given that of the sum of cs (or l cs) over positions, `by_measure` [1, C, 1, 1].

    The filter is linear and `by_measure` the same at all positions, so it is multiplied last.
    """
    two = constant([2.0])
    over = divide(scale.light if is_last else constant(np.ones((1, 1, 1, 1))), scale.spread)
    half_xy, by_yy = over, multiply(constant([-1.0]), multiply(over, scale.cs))
    by_mean = subtract(
        multiply(constant([-2.0]), multiply(scale.mean_y, by_yy)), multiply(two, multiply(scale.mean_x, over))
    )
    if is_last:
        squares = add(multiply(scale.mean_x, scale.mean_x), multiply(scale.mean_y, scale.mean_y))
        slope = divide(
            multiply(two, subtract(scale.mean_x, multiply(scale.mean_y, scale.light))), add(squares, constant([C1]))
        )
        by_mean = add(by_mean, multiply(scale.cs, slope))
    of_mean, of_yy, of_half_xy = _filtered([by_mean, by_yy, half_xy], padding=WINDOW - 1)
    products = add(multiply(scale.y, of_yy), multiply(scale.x, of_half_xy))
    return multiply(by_measure, add(of_mean, multiply(two, products)))


def _filtered(maps: Sequence[Node], padding: int) -> list[Node]:
    """The Gaussian filter of each of `maps` [1, C, H, W], as one convolution with a channel for each.

    The reshape makes the result planar: the convolution interleaves channels, and operations on few interleaved
    channels are many times slower.
    """
    offsets = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(offsets**2) / (2 * SIGMA**2))
    taps /= taps.sum()
    each = _channels(maps[0])
    channels = each * len(maps)
    found = opset13.concat(list(maps), 1)
    for shape, pads in (((WINDOW, 1), [padding, 0]), ((1, WINDOW), [0, padding])):
        filters = constant(np.tile(taps.reshape(1, 1, 1, *shape), (channels, 1, 1, 1, 1)))
        found = opset13.group_convolution(found, filters, [1, 1], pads, pads, [1, 1])
    height, width = (found.get_output_shape(0)[axis] for axis in (2, 3))
    planar = opset13.reshape(found, opset13.constant(np.array([len(maps), each, height, width])), False)
    parts = opset13.split(planar, opset13.constant(0), len(maps))
    return [parts.output(i) for i in range(len(maps))]


def half(shape: tuple[int, int]) -> tuple[int, int]:
    """Sides of the scale after one of `shape` (H, W)."""
    return (shape[0] + 1) // 2, (shape[1] + 1) // 2


def halved(x: Node, shape: tuple[int, int]) -> Node:
    """Means of 2x2 positions; an odd side has a zero before and after it, which counts in the mean."""
    pads = [shape[0] % 2, shape[1] % 2]
    return opset13.avg_pool(x, [2, 2], pads, pads, [2, 2], exclude_pad=False)


def doubled(gradient: Node, shape: tuple[int, int]) -> Node:
    """Adjoint of `halved`: a gradient [1, C, h, w] -> that of the finer scale, [1, C, *shape]."""
    h, w = half(shape)
    channels = _channels(gradient)
    column = opset13.reshape(gradient, opset13.constant(np.array([1, channels, h, 1, w, 1])), False)
    spread = opset13.broadcast(column, opset13.constant(np.array([1, channels, h, 2, w, 2])))
    whole = opset13.reshape(spread, opset13.constant(np.array([1, channels, 2 * h, 2 * w])), False)
    (top, left), (rows, columns) = (shape[0] % 2, shape[1] % 2), shape
    part = opset13.slice(
        whole,
        opset13.constant(np.array([top, left])),
        opset13.constant(np.array([top + rows, left + columns])),
        opset13.constant(np.array([1, 1])),
        opset13.constant(np.array([2, 3])),
    )
    return multiply(part, constant([0.25]))


def _channels(x: Node) -> int:
    """C of a node [1, C, H, W]."""
    found: int = x.get_output_shape(0)[1]
    return found
