"""Distortion and its gradient by OpenVINO and numpy (definitions: distortion.py), for wavelet models.

The gradient in the latent is that of the inverse wavelet alone, at the pixels that the whole decoder makes: what the
decoder network adds to the picture counts as a constant, and MS-SSIM is that of the mean of the channels. Both take a
third of the time of the exact gradient, and files are as small at equal quality.
"""

from __future__ import annotations

import numpy as np
from openvino import Model

from ..backbones.wavelet_arrays import gradient_to_latent, latent_to_picture
from ..geometry.rectangles import Rect
from ..inference.compiled.wavelet_networks import CompiledWaveletNetworks, DecoderGraph
from ..inference.interface import Networks
from ..runtime.compilation import Compiled, fast_kind
from .distortion import Area, Distortion, scale_weights
from .distortion_graphs import area_inputs, distortion, gradient_graph, widened


class WaveletMeasures:
    """`Measures` for the networks of a wavelet model."""

    def __init__(self, networks: Networks) -> None:
        assert isinstance(networks, CompiledWaveletNetworks)
        self.networks = networks
        self.levels = networks.quantizer.levels

    def distortion(self, decoded: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> Distortion:
        """Distortion of pixels `decoded`, uint8 [H, W, 3]."""
        return distortion(decoded, original, alpha)

    def gradient(self, z: np.ndarray, kept: np.ndarray, area: Area) -> np.ndarray:
        """Gradient float32 [D, h, w] of the distortion of `area` in the latent.

        The last channel of `kept` is the coordinate of the step.
        """
        grid = (z.shape[1], z.shape[2])
        place, graph = self._gradient(grid, area)
        conditions = self.networks.conditions(float(kept[-1, 0, 0]))
        inputs = area_inputs(area, place, self._window(grid))
        by_pixels = graph(latent_to_picture(z)[None], *conditions, *inputs)[0][0]
        return gradient_to_latent(by_pixels, self.levels)

    def prepare_gradient(self, grid: tuple[int, int], area: Area) -> None:
        """Compile `gradient` for latents of the shape `grid`."""
        self._gradient(grid, area)

    def _window(self, grid: tuple[int, int]) -> tuple[int, int]:
        return grid[0] * 2**self.levels, grid[1] * 2**self.levels

    def _gradient(self, grid: tuple[int, int], area: Area) -> tuple[Rect, Compiled]:
        """Place of `area`, with rounded sides, and the compiled gradient in pixels for it."""
        window = self._window(grid)
        place, weights = widened(area.place, window), scale_weights(*area.place.shape)
        key = ("gradient", window, place.shape, weights, area.grey, str(fast_kind()))

        def make() -> Model:
            decoder = DecoderGraph(self.networks.config, self.networks.weights, window, fast_kind())
            return gradient_graph(
                decoder.pixels, decoder.inputs, lambda y: y, place.shape, weights, area.grey, by_mean=True
            )

        return place, self.networks.graphs.get(key, make)
