"""What a backbone is made of, as frozen dataclasses: ours, and those of the four papers.

conv      ours: a bounded view, so that any size works window by window
folded    ours: the same, with a latent for a scalar quantizer and a decoder that knows its step
dcae      MGVQ: attention over the whole picture, of any size
vqgan     LlamaGen, XQ-GAN's CNN, FQGAN: the same, and with adapters of one size alone
vit       XQ-GAN, SoftVQ-VAE: tokens of one size of picture
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

from .reading import Count, KindSettings, Positive

NORM_GROUPS = 32
"""Groups of channels that the convolutional network normalises together."""
HEAD = 64
"""Channels of an attention head of the vision transformer."""


class ConvConfig(KindSettings, frozen=True, tag="conv"):
    """The convolutional backbone: stage i works at stride 8 * 2**i."""

    widths: tuple[Positive, ...]
    """Channels of each stage, finest first; as many stages as the stride needs."""
    encoder_depths: tuple[Count, ...]
    """Residual blocks of each encoder stage."""
    decoder_depths: tuple[Count, ...]
    """Residual blocks of each decoder stage, in the order of `widths`."""
    linear_path: bool = False
    """Whether a linear block transform runs beside the network, both ways, and the two are added."""


class FoldedConfig(KindSettings, frozen=True, tag="folded"):
    """Convolutions at stride 8, a latent at stride 16, and a decoder that is told the quantization step."""

    width: Positive = 160
    """Channels of the residual blocks."""
    bottleneck: Positive = 80
    """Channels at stride 8 that a linear map of 2x2 positions turns into the latent."""
    encoder_depth: Positive = 4
    """Residual blocks of the encoder."""
    decoder_depth: Positive = 3
    """Residual blocks of the decoder."""
    coarse_width: Positive = 192
    """Channels of the decoder's blocks at stride 16."""
    coarse_depth: Count = 2
    """Residual blocks of the decoder at stride 16, which see further for fewer operations; 0: none."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the residual blocks and of the bottleneck."""
        return self.width, self.bottleneck


class DcaeConfig(KindSettings, frozen=True, tag="dcae"):
    """The DC-AE backbone of MGVQ: stage i works at stride 2 * 2**i, every list has one entry for each, finest first.

    The defaults are MGVQ's at stride 16. Its published lists begin with one more stage, of no blocks and no tensors.
    """

    widths: tuple[Positive, ...] = (256, 512, 512, 1024)
    """Channels."""
    encoder_depths: tuple[Count, ...] = (4, 8, 2, 2)
    """Blocks of each encoder stage."""
    decoder_depths: tuple[Count, ...] = (5, 10, 2, 2)
    """Blocks of each decoder stage."""
    blocks: tuple[Literal["residual", "attention"], ...] = ("residual", "residual", "attention", "attention")
    """Convolutions only, or linear attention over the whole picture followed by a gated convolution."""
    encoder_norms: tuple[Literal["rms", "batch"], ...] = ("rms", "rms", "rms", "rms")
    encoder_acts: tuple[Literal["silu", "relu"], ...] = ("silu", "silu", "silu", "silu")
    decoder_norms: tuple[Literal["rms", "batch"], ...] = ("batch", "batch", "rms", "rms")
    decoder_acts: tuple[Literal["silu", "relu"], ...] = ("relu", "relu", "silu", "silu")


class VqganConfig(KindSettings, frozen=True, tag="vqgan"):
    """The convolutional network of LlamaGen, with FQGAN's adapters: stage i works at stride 2**i, finest first.

    The defaults are LlamaGen's at stride 16. The last stage attends to the whole picture after each of its blocks.
    """

    widths: tuple[Positive, ...] = (128, 128, 256, 256, 512)
    """Channels, multiples of 32."""
    encoder_depths: tuple[Count, ...] = (2, 2, 2, 2, 2)
    """Residual blocks of each encoder stage."""
    decoder_depths: tuple[Count, ...] = (3, 3, 3, 3, 3)
    """Residual blocks of each decoder stage."""
    latent: Positive = 256
    """Channels between the network and the 1 x 1 convolutions round the quantizer."""
    adapters: Count = 0
    """Factor adapters: as many transformers side by side, each of which makes an equal share of the latent; or none."""
    adapter_depth: Positive = 6
    """Layers of an adapter."""
    adapter_heads: Positive = 8
    """Attention heads of an adapter."""
    adapter_window: Positive = 256
    """Side of the only pictures that adapters can see, pixels; without them any size will do."""

    @property
    def window(self) -> int:
        """Side of the only pictures the network can see, pixels; 0: any size."""
        return self.adapter_window if self.adapters else 0


class VitConfig(KindSettings, frozen=True, tag="vit"):
    """The vision transformer of DINOv2 with latent tokens, as in XQ-GAN and SoftVQ-VAE.

    The defaults are those of XQ-GAN's single quantizer.
    """

    encoder_width: Positive = 768
    """Channels of the encoder's tokens, a multiple of 64; a head of attention has 64 of them."""
    decoder_width: Positive = 768
    encoder_depth: Positive = 12
    """Layers."""
    decoder_depth: Positive = 12
    patch: Positive = 16
    """Side of the square of pixels that is one token of the picture."""
    tokens: Positive = 256
    """Latent tokens of each branch."""
    branches: Positive = 1
    """Parts of the latent, each of which takes latent tokens of its own and an equal share of the channels."""
    positions: Literal["grid", "learned"] = "grid"
    """Where a latent token is: on the picture's own grid, and which branch; or a place of its own, learned."""
    layout: Literal["grid", "line"] = "grid"
    """Whether the latent is a square [B, D, h, w] or a sequence [B, D, L]."""
    window: Positive = 256
    """Side of the only pictures the network can see, pixels."""
    encoder_layers: Literal["dinov2", "clip", "eva02"] = "dinov2"
    """Layout of the encoder's layers, see vqcodec.backbones.vit_trunks; the decoder's are DINOv2's."""

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of encoder and decoder."""
        return self.encoder_width, self.decoder_width

    @property
    def latent_grid(self) -> tuple[int, ...]:
        """Shape of the latent, (h, w) or (L,)."""
        side = round(self.tokens**0.5)
        return (side, side) if self.layout == "grid" else (self.tokens,)

    @property
    def side(self) -> int:
        """Tokens along a side of the picture."""
        return self.window // self.patch


BackboneConfig = ConvConfig | FoldedConfig | DcaeConfig | VqganConfig | VitConfig

GLOBAL = ("dcae", "vqgan")
"""Kinds that take pictures of any size and see all of one at once, by attention or normalisation; of `vqgan` those
without adapters."""

_DEPTHS = ("encoder_depths", "decoder_depths")
_STAGES = {
    "conv": (8, _DEPTHS),
    "dcae": (2, (*_DEPTHS, "blocks", "encoder_norms", "encoder_acts", "decoder_norms", "decoder_acts")),
    "vqgan": (1, _DEPTHS),
}
"""Of each kind that works in stages: the stride of the first, and its lists with one entry for each."""


def backbone_problems(config: BackboneConfig, stride: int, channels: int, window: int) -> Iterator[str]:
    """What is wrong with a network of `stride` and `channels` latent channels, key first."""
    if not config.widths:
        yield ".backbone.widths: at least one needed"
    elif isinstance(config, FoldedConfig):
        if stride != 16:
            yield f".stride: {stride}; a folded backbone has 16"
        if channels > 4 * config.bottleneck:
            yield f".backbone.bottleneck: {channels} latent channels of at most 4 * {config.bottleneck}"
    elif isinstance(config, VitConfig):
        yield from (f".backbone.{problem}" for problem in _vit_problems(config, stride, channels, window))
    else:
        yield from _stage_problems(config, stride)
        if isinstance(config, DcaeConfig):
            yield from (f".backbone.{problem}" for problem in _dcae_problems(config, channels))
        if isinstance(config, VqganConfig):
            yield from (f".backbone.{problem}" for problem in _vqgan_problems(config, stride, channels, window))


def _stage_problems(config: ConvConfig | DcaeConfig | VqganConfig, stride: int) -> Iterator[str]:
    """Each list of a network in stages has an entry for every stage, and the stages make the stride."""
    stages = len(config.widths)
    finest, lists = _STAGES[config.kind]
    for name in lists:
        if len(getattr(config, name)) != stages:
            yield f".backbone.{name}: one for each of the {stages} widths needed"
    if stride != finest * 2 ** (stages - 1):
        yield f".stride must be {finest} * 2^(widths - 1); {stages} widths and {stride} do not agree"


def _dcae_problems(config: DcaeConfig, channels: int) -> Iterator[str]:
    """Its shortcuts repeat or average whole runs of channels, and its attention has heads of 32."""
    for width, block in zip(config.widths, config.blocks, strict=False):
        if width % 4 or (block == "attention" and width % 32):
            yield f"widths: {width} is not a multiple of {32 if block == 'attention' else 4}"
    for fine, coarse in itertools.pairwise(config.widths):
        if 4 * fine % coarse:
            yield f"widths: {coarse} does not divide 4 * {fine}, which comes before it"
    if config.widths[-1] % channels:
        yield f"widths: the last, {config.widths[-1]}, is not a multiple of the latent channels, {channels}"


def _vqgan_problems(config: VqganConfig, stride: int, channels: int, window: int) -> Iterator[str]:
    """It normalises 32 groups of channels; adapters see one size."""
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
    """Its heads have 64 channels; it sees one size, and what lies on a grid is a square."""
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
