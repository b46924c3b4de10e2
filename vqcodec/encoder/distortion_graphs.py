"""Pieces of the graphs of the distortion and of its gradient, for OpenVINO (definitions: distortion.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from openvino import Model, Node, Type, opset13

from ..geometry.rectangles import Rect
from ..inference.compiled.conv_graphs import unit_pixels
from ..inference.compiled.operations import add, constant, divide, multiply, subtract
from ..inference.compiled.similarity_graph import Similarity, doubled, half, halved, similarity
from ..runtime.compilation import GraphCache
from ..runtime.once import Once
from .distortion import COARSE_WEIGHTS, LEAST_DISSIMILARITY, SIMILARITY, Area, Distortion, scale_weights

LARGEST_STRIDE = 32
"""A window that holds a whole picture is larger than it by less than a stride, pixels."""
ROUNDED = 64
"""Sides of areas are rounded up to multiples of it, pixels."""


def distortion(decoded: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> Distortion:
    """Distortion of pixels `decoded`, uint8 [H, W, 3]; see `Measures`."""
    shape = (original.shape[0], original.shape[1])
    alpha = np.full(shape, 255, np.uint8) if alpha is None else alpha
    graph = _graphs().get(("distortion", shape), lambda: _distortion_graph(shape))
    squared_error, *dissimilar = graph(decoded[None], original[None], _shares(alpha))
    return Distortion(float(squared_error.item()), float(dissimilar[0].item()) if dissimilar else None)


def gradient_graph(
    pixels: Node,
    inputs: Sequence[Node],
    back: Callable[[Node], Node],
    area: tuple[int, int],
    weights: tuple[float, ...] | None,
    grey: bool,
    by_mean: bool = False,
) -> Model:
    """Graph of the gradient of the distortion of an area (H, W) anywhere in decoded `pixels` [1, 3, H, W].

    `by_mean`: MS-SSIM is that of the mean of the channels, which takes a third of the time. `back` makes the output
    from the gradient in `pixels`. Inputs: `inputs` and those of `area_inputs`. One graph serves all windows of a
    picture, because lines are inputs.

    The last nodes compute the error anew from an original of their own. With a single one OpenVINO would merge them
    with the first nodes, and keep results of 65 bytes per pixel from there to the end.
    """
    originals = [opset13.parameter([1, *area, 3], Type.u8) for _ in range(3)]
    share = opset13.parameter([1, 1, *area], Type.f32)
    window = pixels.get_output_shape(0)[2:]
    rows, rows_back, columns, columns_back = (
        opset13.parameter([length], Type.i32) for pair in zip(area, window, strict=True) for length in pair
    )
    y = _gathered(pixels, rows, columns)
    y = _averaged(y) if grey else y
    by_area = _distortion_gradient(y, [*map(unit_pixels, originals)], share, area, weights, by_mean)
    by_area = _averaged(by_area) if grey else by_area
    ends = [opset13.constant(np.array([0, 0, *end])) for end in ((0, 0), (1, 1))]
    by_pixels = _gathered(opset13.pad(by_area, *ends, "constant"), rows_back, columns_back)
    return Model([back(by_pixels)], [*inputs, *originals, share, rows, rows_back, columns, columns_back])


def area_inputs(area: Area, place: Rect, window: tuple[int, int]) -> list[np.ndarray]:
    """Inputs of a `gradient_graph` for `area`, which `place` contains, of decoded pixels of `window` (H, W)."""
    margins = [
        (area.place.y0 - place.y0, place.y1 - area.place.y1),
        (area.place.x0 - place.x0, place.x1 - area.place.x1),
    ]
    original = np.pad(area.original, [*margins, (0, 0)], mode="edge")[None]
    alpha = np.full(area.place.shape, 255, np.uint8) if area.alpha is None else area.alpha
    rows, columns = _lines(place.y0, place.y1, window[0]), _lines(place.x0, place.x1, window[1])
    return [*[original] * 3, _shares(np.pad(alpha, margins)), *rows, *columns]


def widened(place: Rect, window: tuple[int, int]) -> Rect:
    """`place` with sides that are multiples of ROUNDED where the `window` (H, W) allows it.

    Areas of nearly the same size then share a graph. The added pixels have an alpha of 0. An odd side of a picture
    that one window holds stays: MS-SSIM halves it from another first pixel than even ones, and the gradient of its
    finest scale depends on that.
    """
    y0, y1 = _widened_span(place.y0, place.y1, window[0])
    x0, x1 = _widened_span(place.x0, place.x1, window[1])
    return Rect(y0, y1, x0, x1)


def _widened_span(start: int, end: int, length: int) -> tuple[int, int]:
    if start == 0 and end % 2 and length - end < LARGEST_STRIDE:
        return start, end
    size = min(-(-(end - start) // ROUNDED) * ROUNDED, length)
    first = min(start, length - size)
    return first, first + size


def _lines(start: int, end: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the lines start..end of a window, and for each of its `length` lines that in the area.

    Lines outside the area have the number after its last one, that of a line of zeros.
    """
    back = np.full(length, end - start, np.int32)
    back[start:end] = np.arange(end - start)
    return np.arange(start, end, dtype=np.int32), back


def _averaged(y: Node) -> Node:
    """Mean of the channels of y [1, 3, H, W] in each of them; its own adjoint."""
    return opset13.concat([_mean(y)] * 3, 1)


def _mean(y: Node) -> Node:
    """Mean [1, 1, H, W] of the channels."""
    return opset13.reduce_mean(y, opset13.constant(np.array([1])), keep_dims=True)


def _gathered(y: Node, rows: Node, columns: Node) -> Node:
    """Rows and columns of y [1, 3, H, W] by their numbers."""
    found = opset13.gather(y, rows, opset13.constant(2))
    return opset13.gather(found, columns, opset13.constant(3))


def _distortion_gradient(
    y: Node, x: Sequence[Node], share: Node, shape: tuple[int, int], weights: tuple[float, ...] | None, by_mean: bool
) -> Node:
    """Derivative in y of the distortion of y relative to itself; nodes float32 [1, 3, H, W] in -1..1.

    `x` are three equal nodes: for the error, for MS-SSIM, and for the nodes that come last (see `gradient_graph`).
    """
    first_x, middle_x, last_x = x
    error_again = multiply(subtract(y, last_x), share)
    gradient = multiply(constant([2.0]), error_again)
    if weights is not None:
        error = multiply(subtract(y, first_x), share)
        found = _dissimilarity(add(first_x, error), middle_x, shape, weights, by_mean)
        squared = opset13.reduce_sum(multiply(error, error), opset13.constant(np.array([1, 2, 3])), keep_dims=True)
        reference = opset13.maximum(found.dissimilarity, constant([LEAST_DISSIMILARITY]))
        scale = multiply(constant([SIMILARITY]), divide(squared, reference))
        by_y = multiply(multiply(found.gradient, _within(add(last_x, error_again))), constant([0.5]))
        gradient = add(multiply(constant([1 - SIMILARITY]), gradient), multiply(scale, by_y))
    return multiply(gradient, share)


def _within(y: Node) -> Node:
    """1 where y is in -1..1, else 0."""
    return opset13.convert(opset13.less_equal(opset13.abs(y), constant([1.0])), Type.f32)


def _dissimilarity(
    y: Node, x: Node, shape: tuple[int, int], weights: tuple[float, ...], by_mean: bool = False
) -> Similarity:
    """1 - MS-SSIM of y, clamped, and x, nodes float32 [1, 3, H, W] in -1..1, and its derivative in (y + 1) / 2.

    `by_mean`: of the mean of the channels.
    """
    decoded, original = (
        multiply(add(part, constant([1.0])), constant([0.5])) for part in (opset13.clamp(y, -1.0, 1.0), x)
    )
    if by_mean:
        decoded, original = _mean(decoded), _mean(original)
    if weights is COARSE_WEIGHTS:
        found = similarity(halved(decoded, shape), halved(original, shape), half(shape), weights)
        found = found._replace(gradient=doubled(found.gradient, shape))
    else:
        found = similarity(decoded, original, shape, weights)
    if not by_mean:
        return found
    return found._replace(gradient=multiply(opset13.concat([found.gradient] * 3, 1), constant([1 / 3])))


def _distortion_graph(shape: tuple[int, int]) -> Model:
    """(decoded, original uint8 [1, H, W, 3], alpha's shares) -> squared error, and dissimilarity if any."""
    pixels = [opset13.parameter([1, *shape, 3], Type.u8) for _ in range(2)]
    y, x = map(unit_pixels, pixels)
    share = opset13.parameter([1, 1, *shape], Type.f32)
    error = multiply(subtract(y, x), share)
    outputs = [opset13.reduce_sum(multiply(error, error), opset13.constant(np.array([0, 1, 2, 3])), keep_dims=True)]
    if (weights := scale_weights(*shape)) is not None:
        outputs.append(_dissimilarity(add(x, error), x, shape, weights).dissimilarity)
    return Model(outputs, [*pixels, share])


def _shares(alpha: np.ndarray) -> np.ndarray:
    """Alpha uint8 [H, W] as the input of a graph: float32 [1, 1, H, W] in 0..1."""
    return (alpha / np.float32(255))[None, None]


_graphs = Once(GraphCache)
