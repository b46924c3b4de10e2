"""Operations of the graphs of convolutional networks, and their gradients in the input.

Nodes are [1, C, H, W]. The element type of a node decides in which precision an operation runs: constants take the type
of the node that they are combined with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from openvino import Node, Type, opset13

add = opset13.add
subtract = opset13.subtract
multiply = opset13.multiply
divide = opset13.divide


def constant(values: ArrayLike, kind: Type = Type.f32) -> Node:
    """Constant node of element type `kind`."""
    node = opset13.constant(np.array(values, np.float32, order="C"))
    return node if kind == Type.f32 else opset13.convert(node, kind)


def cast(x: Node, kind: Type) -> Node:
    """The node in element type `kind`."""
    return x if type_of(x) == kind else opset13.convert(x, kind)


def type_of(x: Node) -> Type:
    """Element type of a node."""
    return x.get_element_type()


class Weights:
    """Layers of a network by the names of their tensors.

    Args:
        tensors: name -> float array; "NAME.weight" [O, I, k, k] and "NAME.bias" [O] for each layer.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.tensors = tensors

    def __contains__(self, name: str) -> bool:
        return f"{name}.weight" in self.tensors

    def conv(self, x: Node, name: str, stride: int = 1) -> Node:
        """Convolution with bias; kernels of 3x3 have a padding of 1, kernels of 1x1 none."""
        weight, kind = self.tensors[f"{name}.weight"], type_of(x)
        pads = [weight.shape[-1] // 2] * 2
        y = opset13.convolution(x, constant(weight, kind), [stride] * 2, pads, pads, [1, 1])
        return add(y, constant(self.tensors[f"{name}.bias"].reshape(1, -1, 1, 1), kind))

    def conv_gradient(self, gradient: Node, name: str) -> Node:
        """Gradient in the input of `conv` of stride 1, given that in its output."""
        weight = self.tensors[f"{name}.weight"].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        pads = [weight.shape[-1] // 2] * 2
        return opset13.convolution(gradient, constant(weight, type_of(gradient)), [1, 1], pads, pads, [1, 1])


def silu(x: Node) -> Node:
    """x * sigmoid(x)."""
    return opset13.swish(x, constant(np.float32(1), type_of(x)))


def silu_gradient(gradient: Node, x: Node) -> Node:
    """Gradient in x of `silu`, given that in its output."""
    share = opset13.sigmoid(x)
    one = constant(np.ones((1, 1, 1, 1)), type_of(x))
    slope = multiply(share, add(one, multiply(x, subtract(one, share))))
    return multiply(gradient, slope)


def shuffle(x: Node, factor: int) -> Node:
    """Channels [C * factor^2, h, w] -> positions [C, h * factor, w * factor], in the order of torch's pixel_shuffle."""
    return opset13.depth_to_space(x, "depth_first", factor)


def unshuffle(x: Node, factor: int) -> Node:
    """Inverse of `shuffle`, which is also its gradient."""
    return opset13.space_to_depth(x, "depth_first", factor)
