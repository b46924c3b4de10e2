"""Networks run by OpenVINO: convolutional backbone and product quantizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...config.backbones import ConvConfig
from ...config.model import TokenizerConfig
from ...quantizers.product_arrays import ProductArrays
from ...runtime.compilation import Compiled, GraphCache, fast_kind
from .conv_graphs import decoder_graph, encoder_graph
from .operations import Weights


class CompiledNetworks:
    """`Networks` of a model, from its tensors as model.safetensors names them."""

    def __init__(self, config: TokenizerConfig, tensors: Mapping[str, np.ndarray], product: ProductArrays) -> None:
        assert isinstance(config.backbone, ConvConfig)
        self.config, self.product = config.backbone, product
        self.weights = Weights(tensors)
        self.encoder_halo: int | None = config.backbone.encoder_halo
        self.decoder_halo: int | None = config.backbone.decoder_halo
        self.input_channels = config.quantizer.channels + config.quantizer.groups
        """Channels of the decoder's input."""
        self.graphs = GraphCache()

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 [H, W, 3] -> latent float32 [D, h, w]."""
        grid = (pixels.shape[0] // self.config.stride, pixels.shape[1] // self.config.stride)
        graph = self.graphs.get(("encoder", grid), lambda: encoder_graph(self.config, self.weights, grid, fast_kind()))
        return graph(pixels[None])[0][0]

    def quantize(self, z: np.ndarray, lmbda: float) -> list[np.ndarray]:
        """Latent float32 [D, h, w] -> planes int32 [h, w]."""
        return self.product.quantize(z, lmbda)

    def dequantize(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Planes int32 [h, w] -> z_q float32 [D, h, w] and keep map float32 [G, h, w]."""
        return self.product.dequantize(planes)

    def decode(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> np.ndarray:
        """Planes int32 [h, w] -> pixels uint8 [H, W, 3]; there is no step and there are no lifted channels."""
        z = np.concatenate(self.product.dequantize(planes))
        return self._decoder((z.shape[1], z.shape[2]))(z[None])[0][0]

    def prepare_decoder(self, grid: tuple[int, int]) -> None:
        """Compile the decoder for planes of the shape `grid`."""
        self._decoder(grid)

    def _decoder(self, grid: tuple[int, int]) -> Compiled:
        return self.graphs.get(
            ("decoder", grid),
            lambda: decoder_graph(self.config, self.weights, self.input_channels, grid, fast_kind()),
        )

    def release(self) -> None:
        """Free the intermediate results of large graphs, the decoder's gradient among them."""
        self.graphs.release()
