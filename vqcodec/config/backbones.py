"""Configurations of backbones.

conv      convolutions of bounded reach: pictures of any size, window by window with a halo
wavelet   a wavelet, and a decoder network of bounded reach conditioned on the quantization step (`photo`)
dcae      MGVQ: attention over the whole picture, any size
vqgan     LlamaGen, XQ-GAN's CNN, FQGAN: attention over the whole picture, any size; one size with adapters
vit       XQ-GAN, SoftVQ-VAE: vision transformers, one size
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal

from typing_extensions import override

from ..planes import Grid
from .reading import Channels, Depth, DepthOrNone, KindSettings

NORM_GROUPS = 32
"""Groups of the group normalisation of the vqgan backbone."""
FINEST_STRIDE = 8
"""Pixels per step of the finest stage of the conv backbone."""
HEAD = 64
"""Channels of an attention head of the vit backbone."""


class BackboneSettings(KindSettings, frozen=True):
    """Properties that every backbone configuration has."""

    @property
    def input_px(self) -> int:
        """Side of the only pictures that the network accepts, px; 0: any size."""
        return 0

    @property
    def latent_grid(self) -> Grid | None:
        """Shape of the latent where it is fixed, (h, w) or (L,); None where it follows the size of the picture."""
        return None


class ConvConfig(BackboneSettings, frozen=True, tag="conv"):
    """Convolutional backbone of bounded reach; stage i works at stride 8 * 2**i."""

    widths: tuple[Channels, ...]
    """Channels of each stage, finest first; as many stages as the stride needs."""
    encoder_depths: tuple[DepthOrNone, ...]
    """Residual blocks of each encoder stage."""
    decoder_depths: tuple[DepthOrNone, ...]
    """Residual blocks of each decoder stage, in the order of `widths`."""
    linear_path: bool = False
    """Add a linear block transform to the networks, in encoder and decoder."""

    @property
    def stride(self) -> int:
        """Pixels per latent step."""
        return FINEST_STRIDE * 2 ** (len(self.widths) - 1)

    @property
    def encoder_halo(self) -> int:
        """Pixels beyond its own stride block, to each side, that a latent step depends on."""
        return self._halo(self.encoder_depths)

    @property
    def decoder_halo(self) -> int:
        """Pixels to each side that an output pixel's latent steps reach beyond its own stride block."""
        return self._halo(self.decoder_depths)

    def _halo(self, depths: tuple[int, ...]) -> int:
        """Reach of a network, rounded up to whole latent steps.

        Stage i adds 2 steps per block, 1 for its first or last convolution, and at most 1 for the change of resolution.
        """
        steps = sum((2 * depth + 2) * 2**i for i, depth in enumerate(depths)) * FINEST_STRIDE
        return -(-steps // self.stride) * self.stride


class WaveletConfig(BackboneSettings, frozen=True, tag="wavelet"):
    """9/7 wavelet without weights, and a decoder network that receives the quantization step."""

    width: Channels = 64
    """Channels of the decoder's residual blocks."""
    depth: Depth = 3
    """Residual blocks of the decoder, at stride 4."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the residual blocks."""
        return (self.width,)


class DcaeConfig(BackboneSettings, frozen=True, tag="dcae"):
    """DC-AE backbone of MGVQ; stage i works at stride 2 * 2**i, every list has one entry per stage, finest first.

    The defaults are MGVQ's at stride 16. The published lists start with one more stage without blocks and tensors.
    """

    widths: tuple[Channels, ...] = (256, 512, 512, 1024)
    """Channels of each stage."""
    encoder_depths: tuple[DepthOrNone, ...] = (4, 8, 2, 2)
    """Blocks of each encoder stage."""
    decoder_depths: tuple[DepthOrNone, ...] = (5, 10, 2, 2)
    """Blocks of each decoder stage."""
    blocks: tuple[Literal["residual", "attention"], ...] = ("residual", "residual", "attention", "attention")
    """residual: convolutions; attention: linear attention over the whole picture and a gated convolution."""
    encoder_norms: tuple[Literal["rms", "batch"], ...] = ("rms", "rms", "rms", "rms")
    encoder_acts: tuple[Literal["silu", "relu"], ...] = ("silu", "silu", "silu", "silu")
    decoder_norms: tuple[Literal["rms", "batch"], ...] = ("batch", "batch", "rms", "rms")
    decoder_acts: tuple[Literal["silu", "relu"], ...] = ("relu", "relu", "silu", "silu")


class VqganConfig(BackboneSettings, frozen=True, tag="vqgan"):
    """Convolutional backbone of LlamaGen, with FQGAN's adapters; stage i works at stride 2**i, finest first.

    The defaults are LlamaGen's at stride 16. The last stage has attention over the whole picture after each block.
    """

    widths: tuple[Channels, ...] = (128, 128, 256, 256, 512)
    """Channels of each stage, multiples of 32."""
    encoder_depths: tuple[DepthOrNone, ...] = (2, 2, 2, 2, 2)
    """Residual blocks of each encoder stage."""
    decoder_depths: tuple[DepthOrNone, ...] = (3, 3, 3, 3, 3)
    """Residual blocks of each decoder stage."""
    latent: Channels = 256
    """Channels between the network and the 1 x 1 convolutions before and after the quantizer."""
    adapters: DepthOrNone = 0
    """Number of factor adapters, parallel transformers with an equal share of the latent channels each; 0: none."""
    adapter_depth: Depth = 6
    """Layers of an adapter."""
    adapter_heads: Channels = 8
    """Attention heads of an adapter."""
    adapter_window: Channels = 256
    """Side of the pictures that adapters accept, px; without adapters any size is accepted."""

    @property
    @override
    def input_px(self) -> int:
        return self.adapter_window if self.adapters else 0


class VitConfig(BackboneSettings, frozen=True, tag="vit"):
    """Vision transformer of DINOv2 with latent tokens (XQ-GAN, SoftVQ-VAE).

    The defaults are those of XQ-GAN's single quantizer.
    """

    encoder_width: Channels = 768
    """Channels of the encoder's tokens, a multiple of 64, the channels of an attention head."""
    decoder_width: Channels = 768
    encoder_depth: Depth = 12
    """Transformer layers."""
    decoder_depth: Depth = 12
    patch: Channels = 16
    """Side of the patch of pixels that is one token of the picture, px."""
    tokens: Channels = 256
    """Latent tokens of each branch."""
    branches: Channels = 1
    """Number of parts of the latent, each with latent tokens of its own and an equal share of the channels."""
    positions: Literal["grid", "learned"] = "grid"
    """Position embedding of a latent token. grid: position on the picture's grid and branch; learned: one per token."""
    layout: Literal["grid", "line"] = "grid"
    """Shape of the latent. grid: [B, D, h, w]; line: [B, D, L]."""
    window: Channels = 256
    """Side of the pictures that the network accepts, px."""
    encoder_layers: Literal["dinov2", "clip", "eva02"] = "dinov2"
    """Layout of the encoder's layers, see vqcodec.backbones.vit_trunks; the decoder has DINOv2's."""

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of encoder and decoder."""
        return self.encoder_width, self.decoder_width

    @property
    @override
    def input_px(self) -> int:
        return self.window

    @property
    @override
    def latent_grid(self) -> Grid:
        side = round(self.tokens**0.5)
        return (side, side) if self.layout == "grid" else (self.tokens,)

    @property
    def patches_per_side(self) -> int:
        """Patches along a side of the picture."""
        return self.window // self.patch


BackboneConfig = ConvConfig | WaveletConfig | DcaeConfig | VqganConfig | VitConfig

GLOBAL = ("dcae", "vqgan")
"""Kinds that accept any size and see the whole picture, by attention or normalisation; `vqgan` without adapters."""

_DEPTHS = ("encoder_depths", "decoder_depths")
_STAGES = {
    "conv": (8, _DEPTHS),
    "dcae": (2, (*_DEPTHS, "blocks", "encoder_norms", "encoder_acts", "decoder_norms", "decoder_acts")),
    "vqgan": (1, _DEPTHS),
}
"""Kind with stages -> (stride of the first stage, names of its lists with one entry per stage)."""


def backbone_problems(config: BackboneConfig, stride: int, channels: int, window: int) -> Iterator[str]:
    """Violations of the rules across settings, key first, for a stride in px and a number of latent channels."""
    if not config.widths:
        yield ".backbone.widths: at least one needed"
    elif isinstance(config, WaveletConfig):
        if channels != 3 * stride**2 or stride not in (4, 8):
            yield f".stride: {stride}; a wavelet of {channels} channels has {math.isqrt(channels // 3)}, 4 or 8"
    elif isinstance(config, VitConfig):
        yield from (f".backbone.{problem}" for problem in _vit_problems(config, stride, channels, window))
    else:
        yield from _stage_problems(config, stride)
        if isinstance(config, DcaeConfig):
            yield from (f".backbone.{problem}" for problem in _dcae_problems(config, channels))
        if isinstance(config, VqganConfig):
            yield from (f".backbone.{problem}" for problem in _vqgan_problems(config, stride, channels, window))


def _stage_problems(config: ConvConfig | DcaeConfig | VqganConfig, stride: int) -> Iterator[str]:
    """Each list needs one entry per stage, and the stages give the stride."""
    stages = len(config.widths)
    finest, lists = _STAGES[config.kind]
    for name in lists:
        if len(getattr(config, name)) != stages:
            yield f".backbone.{name}: one for each of the {stages} widths needed"
    if stride != finest * 2 ** (stages - 1):
        yield f".stride must be {finest} * 2^(widths - 1); {stages} widths and {stride} do not agree"


def _dcae_problems(config: DcaeConfig, channels: int) -> Iterator[str]:
    """Shortcuts repeat or average whole runs of channels, and attention heads have 32 channels."""
    for width, block in zip(config.widths, config.blocks, strict=False):
        if width % 4 or (block == "attention" and width % 32):
            yield f"widths: {width} is not a multiple of {32 if block == 'attention' else 4}"
    for fine, coarse in itertools.pairwise(config.widths):
        if 4 * fine % coarse:
            yield f"widths: {coarse} does not divide 4 * {fine}, which comes before it"
    if config.widths[-1] % channels:
        yield f"widths: the last, {config.widths[-1]}, is not a multiple of the latent channels, {channels}"


def _vqgan_problems(config: VqganConfig, stride: int, channels: int, window: int) -> Iterator[str]:
    """Group normalisation has 32 groups, and adapters accept one size."""
    if any(width % NORM_GROUPS for width in config.widths):
        yield f"widths: multiples of {NORM_GROUPS} needed"
    if config.adapters:
        if channels % config.adapters:
            yield f"adapters: {config.adapters} do not share {channels} latent channels equally"
        if config.widths[-1] % config.adapter_heads:
            yield f"adapter_heads: {config.adapter_heads} do not divide the last width, {config.widths[-1]}"
        if config.adapter_window != window or window % stride:
            yield f"adapter_window: {config.adapter_window}, but the tokenizer's windows are {window} px"


def _vit_problems(config: VitConfig, stride: int, channels: int, window: int) -> Iterator[str]:
    """Attention heads have 64 channels, one size is accepted, and grids are square."""
    if any(width % HEAD for width in config.widths):
        yield f"widths: multiples of {HEAD} needed"
    if config.window != window or window % config.patch or stride != config.patch:
        yield f"window: {config.window} of patches of {config.patch} px; the tokenizer has {window} and stride {stride}"
    if round(config.tokens**0.5) ** 2 != config.tokens and "grid" in (config.positions, config.layout):
        yield f"tokens: {config.tokens} are no square, which a grid needs"
    if config.branches > 1 and config.layout == "line":
        yield "branches: a sequence has one; give it more tokens instead"
    if channels % config.branches:
        yield f"branches: {config.branches} do not share {channels} latent channels equally"
