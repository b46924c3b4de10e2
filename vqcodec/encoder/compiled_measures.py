"""Distortion and its gradient by OpenVINO (definitions: distortion.py), for convolutional networks."""

from __future__ import annotations

import numpy as np
from openvino import Model, Type, opset13

from ..geometry.rectangles import Rect
from ..inference.compiled.conv_graphs import Decoding
from ..inference.compiled.networks import CompiledNetworks
from ..inference.interface import Networks
from ..runtime.compilation import Compiled, fast_kind
from .distortion import Area, Distortion, scale_weights
from .distortion_graphs import area_inputs, distortion, gradient_graph, widened


class CompiledMeasures:
    """`Measures` for compiled networks."""

    def __init__(self, networks: Networks) -> None:
        assert isinstance(networks, CompiledNetworks)
        self.networks = networks

    def distortion(self, decoded: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> Distortion:
        """Distortion of pixels `decoded`, uint8 [H, W, 3]."""
        return distortion(decoded, original, alpha)

    def gradient(self, z: np.ndarray, kept: np.ndarray, area: Area) -> np.ndarray:
        """Gradient float32 [D, h, w] of the distortion of `area` in the decoder's input."""
        grid = (z.shape[1], z.shape[2])
        place, graph = self._gradient(grid, area)
        found: np.ndarray = graph(np.concatenate([z, kept])[None], *area_inputs(area, place, self._window(grid)))[0]
        return found[0, : len(z)]

    def prepare_gradient(self, grid: tuple[int, int], area: Area) -> None:
        """Compile `gradient` for codewords of the shape `grid`."""
        self._gradient(grid, area)

    def _window(self, grid: tuple[int, int]) -> tuple[int, int]:
        return grid[0] * self.networks.config.stride, grid[1] * self.networks.config.stride

    def _gradient(self, grid: tuple[int, int], area: Area) -> tuple[Rect, Compiled]:
        """Place of `area`, with rounded sides, and the compiled gradient for it."""
        place, weights = widened(area.place, self._window(grid)), scale_weights(*area.place.shape)
        shape = (1, self.networks.input_channels, *grid)
        key = ("gradient", shape, place.shape, weights, area.grey, str(fast_kind()))
        return place, self.networks.graphs.get(
            key, lambda: self._gradient_graph(shape, place.shape, weights, area.grey)
        )

    def _gradient_graph(
        self, shape: tuple[int, ...], area: tuple[int, int], weights: tuple[float, ...] | None, grey: bool
    ) -> Model:
        """Graph of `gradient` for the decoder's input of `shape`."""
        z = opset13.parameter(shape, Type.f32)
        decoding = Decoding(self.networks.config, self.networks.weights, z, fast_kind())
        return gradient_graph(decoding.pixels, [z], decoding.gradient, area, weights, grey)
