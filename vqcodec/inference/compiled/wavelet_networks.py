"""Networks of models with a quantization step: the wavelet in numpy, the decoder network run by OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from openvino import Model, Node, Type, opset13

from ...backbones.wavelet_arrays import (
    CONTRAST,
    CONTRAST_LIMIT,
    FOLD,
    HALF_RANGE,
    MEAN_RADIUS,
    PIXEL_STEP,
    halo_of,
    latent_to_picture,
    pixels_to_latent,
)
from ...config.backbones import WaveletConfig
from ...config.model import TokenizerConfig
from ...config.quantizers import UniformConfig
from ...planes import MISSING
from ...quantizers.scalar_values import scalar_values
from ...runtime.compilation import Compiled, GraphCache, fast_kind
from ...transforms.lifting_arrays import unlift
from ...transforms.steps import coordinate, size_of_coordinate
from .operations import Weights, add, cast, constant, divide, multiply, shuffle, silu, subtract, unshuffle


class CompiledWaveletNetworks:
    """`Networks` of a model, from its tensors as model.safetensors names them."""

    def __init__(self, config: TokenizerConfig, tensors: Mapping[str, np.ndarray]) -> None:
        assert isinstance(config.backbone, WaveletConfig)
        assert isinstance(config.quantizer, UniformConfig)
        self.config, self.quantizer, self.weights = config.backbone, config.quantizer, Weights(tensors)
        self.encoder_halo: int | None = halo_of(self.quantizer.levels, 0)
        self.decoder_halo: int | None = halo_of(self.quantizer.levels, config.backbone.depth)
        self.graphs = GraphCache()

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 [H, W, 3] -> latent float32 [D, h, w]."""
        return pixels_to_latent(pixels, self.quantizer.levels)

    def quantize(self, z: np.ndarray, lmbda: float) -> list[np.ndarray]:
        """Raise TypeError: values are selected under the entropy model, by scalar_encoder.py."""
        raise TypeError("a uniform quantizer has no selection of single indices")

    def dequantize(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Planes int32 [h, w] -> z_q float32 [D, h, w] and keep map float32 [G + 1, h, w], the last the coordinate."""
        assert step is not None
        n = self.quantizer.lifted
        low = unlift(scalar_values(planes[:n], step)) if lifted is None else lifted
        z_q = np.concatenate([low, scalar_values(planes[n:], step)])
        kept = [np.all([planes[s] != MISSING for s in layer], 0) for layer in self.quantizer.layers]
        return z_q, np.stack([*kept, np.full_like(kept[0], coordinate(step), np.float32)]).astype(np.float32)

    def decode(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> np.ndarray:
        """Planes int32 [h, w] -> pixels uint8 [H, W, 3] at a step number."""
        assert step is not None
        n = self.quantizer.lifted
        low = unlift(scalar_values(planes[:n], step)) if lifted is None else lifted
        picture = latent_to_picture(np.concatenate([low, scalar_values(planes[n:], step)]))
        h, w = planes[0].shape
        return self._decoder((h, w))(picture[None], *self.conditions(coordinate(step)))[0][0]

    def prepare_decoder(self, grid: tuple[int, int]) -> None:
        """Compile the decoder for planes of the shape `grid`."""
        self._decoder(grid)

    def release(self) -> None:
        """Free the intermediate results of large graphs."""
        self.graphs.release()

    def _decoder(self, grid: tuple[int, int]) -> Compiled:
        side = 2**self.quantizer.levels
        shape = (grid[0] * side, grid[1] * side)
        return self.graphs.get(("decoder", grid), lambda: decoder_graph(self.config, self.weights, shape, fast_kind()))

    def conditions(self, coordinate: float) -> tuple[np.ndarray, np.ndarray]:
        """Inputs of the decoder network at the coordinate of a step, besides the picture.

        Scales and shifts of the blocks' inputs [depth, 2, width], and the size of an error in pixels in -1..1, [1].
        """
        tensors = self.weights.tensors

        def linear(name: str, x: np.ndarray) -> np.ndarray:
            found: np.ndarray = tensors[f"{name}.weight"].astype(np.float32) @ x + tensors[f"{name}.bias"]
            return found

        y = linear("decoder.tell.0", np.array([coordinate], np.float32))
        embedding = linear("decoder.tell.2", y / (1 + np.exp(-y)))
        films = [linear(f"decoder.blocks.{i}.film", embedding).reshape(2, -1) for i in range(self.config.depth)]
        size = size_of_coordinate(coordinate) / PIXEL_STEP
        return np.stack(films).astype(np.float32), np.array([size], np.float32)


class DecoderGraph:
    """Nodes of the decoder network (backbones/wavelet.py) for pictures of `shape` (H, W)."""

    def __init__(self, config: WaveletConfig, weights: Weights, shape: tuple[int, int], kind: Type) -> None:
        self.picture = opset13.parameter([1, 3, *shape], Type.f32)
        films = opset13.parameter([config.depth, 2, config.width], Type.f32)
        size = opset13.parameter([1], Type.f32)
        self.inputs = [self.picture, films, size]
        """Picture float32 [1, 3, H, W], and the results of `CompiledWaveletNetworks.conditions`."""
        y = weights.conv(cast(_contrast(self.picture, size, shape), kind), "decoder.head")
        for i in range(config.depth):
            scale, shift = (cast(_row(films, i, j), kind) for j in (0, 1))
            inner = silu(add(multiply(y, add(scale, constant(np.ones((1, 1, 1, 1)), kind))), shift))
            inner = weights.conv(inner, f"decoder.blocks.{i}.block.conv1")
            y = add(y, weights.conv(silu(inner), f"decoder.blocks.{i}.block.conv2"))
        change = shuffle(cast(weights.conv(silu(y), "decoder.tail"), Type.f32), FOLD)
        self.pixels = add(self.picture, multiply(change, size))
        """Restored pixels [1, 3, H, W], about -1..1."""


def decoder_graph(config: WaveletConfig, weights: Weights, shape: tuple[int, int], kind: Type) -> Model:
    """Graph of `DecoderGraph` with pixels uint8 [1, H, W, 3] as output."""
    found = DecoderGraph(config, weights, shape, kind)
    levels = multiply(add(opset13.clamp(found.pixels, -1.0, 1.0), constant([1.0])), constant([HALF_RANGE]))
    rows = opset13.transpose(opset13.round(levels), opset13.constant(np.array([0, 2, 3, 1])))
    return Model([opset13.convert(rows, Type.u8)], found.inputs)


def _contrast(picture: Node, size: Node, shape: tuple[int, int]) -> Node:
    """`wavelet.contrast` of a picture [1, 3, H, W]: [1, 3 FOLD^2, h, w]."""
    h, w, r = shape[0] // FOLD, shape[1] // FOLD, MEAN_RADIUS
    blocks = opset13.reshape(unshuffle(picture, FOLD), opset13.constant(np.array([3, FOLD**2, h, w])), False)
    pads = opset13.constant(np.array([0, 0, r, r]))
    means = opset13.pad(opset13.reduce_mean(blocks, opset13.constant(np.array([1])), True), pads, pads, "edge")
    means = opset13.avg_pool(means, [1, 1], [0, 0], [0, 0], [2 * r + 1] * 2, False)
    x = multiply(subtract(blocks, means), divide(constant([CONTRAST]), size))
    x = divide(x, add(constant([1.0]), multiply(opset13.abs(x), constant([1 / CONTRAST_LIMIT]))))
    return opset13.reshape(x, opset13.constant(np.array([1, 3 * FOLD**2, h, w])), False)


def _row(films: Node, block: int, part: int) -> Node:
    """[1, width, 1, 1]: scale (part 0) or shift (part 1) of a block."""
    width = films.get_partial_shape()[2].get_length()
    found = opset13.slice(
        films,
        opset13.constant(np.array([block, part])),
        opset13.constant(np.array([block + 1, part + 1])),
        opset13.constant(np.array([1, 1])),
        opset13.constant(np.array([0, 1])),
    )
    return opset13.reshape(found, opset13.constant(np.array([1, width, 1, 1])), False)
