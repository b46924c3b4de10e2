"""The backbones of LlamaGen, FQGAN, XQ-GAN and SoftVQ-VAE, as frozen dataclasses.

Differs from config.py: these networks look at the whole of a picture at once, and most know one size of it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NORM_GROUPS = 32
"""Groups of channels that the convolutional network normalises together."""
HEAD = 64
"""Channels of an attention head of the vision transformer."""


@dataclass(frozen=True)
class VqganConfig:
    """The convolutional network of LlamaGen, with FQGAN's adapters: stage i works at stride 2**i, finest first.

    The defaults are LlamaGen's at stride 16. The last stage attends to the whole picture after each of its blocks.
    """

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    """Channels, multiples of 32."""
    encoder_depths: tuple[int, ...] = (2, 2, 2, 2, 2)
    """Residual blocks of each encoder stage."""
    decoder_depths: tuple[int, ...] = (3, 3, 3, 3, 3)
    """Residual blocks of each decoder stage."""
    latent: int = 256
    """Channels between the network and the 1 x 1 convolutions round the quantizer."""
    adapters: int = 0
    """Factor adapters: as many transformers side by side, each of which makes an equal share of the latent; or none."""
    adapter_depth: int = 6
    """Layers of an adapter."""
    adapter_heads: int = 8
    """Attention heads of an adapter."""
    adapter_window: int = 256
    """Side of the only pictures that adapters can see, pixels; without them any size will do."""
    kind: Literal["vqgan"] = "vqgan"

    @property
    def window(self) -> int:
        """Side of the only pictures the network can see, pixels; 0: any size."""
        return self.adapter_window if self.adapters else 0


@dataclass(frozen=True)
class VitConfig:
    """The vision transformer of DINOv2 with latent tokens, as in XQ-GAN and SoftVQ-VAE.

    The defaults are those of XQ-GAN's single quantizer.
    """

    encoder_width: int = 768
    """Channels of the encoder's tokens, a multiple of 64; a head of attention has 64 of them."""
    decoder_width: int = 768
    encoder_depth: int = 12
    """Layers."""
    decoder_depth: int = 12
    patch: int = 16
    """Side of the square of pixels that is one token of the picture."""
    tokens: int = 256
    """Latent tokens of each branch."""
    branches: int = 1
    """Parts of the latent, each of which takes latent tokens of its own and an equal share of the channels."""
    positions: Literal["grid", "learned"] = "grid"
    """Where a latent token is: on the picture's own grid, and which branch; or a place of its own, learned."""
    layout: Literal["grid", "line"] = "grid"
    """Whether the latent is a square [B, D, h, w] or a sequence [B, D, L]."""
    window: int = 256
    """Side of the only pictures the network can see, pixels."""
    kind: Literal["vit"] = "vit"

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


def vqgan_faults(config: VqganConfig, stride: int, channels: int) -> list[tuple[bool, str]]:
    """(whether it is so, what is wrong) for all that a network of `channels` latent channels cannot have."""
    branches = max(config.adapters, 1)
    return [
        (any(width % NORM_GROUPS for width in config.widths), f"widths: multiples of {NORM_GROUPS} needed"),
        (config.latent < 1, "latent: at least 1"),
        (config.adapters < 0 or config.adapter_depth < 1, "adapters: at least 0, of a depth of at least 1"),
        (channels % branches != 0, f"adapters: {branches} do not share {channels} latent channels equally"),
        (
            config.adapters > 0 and (config.adapter_heads < 1 or config.widths[-1] % config.adapter_heads != 0),
            f"adapter_heads: {config.adapter_heads} do not divide the last width, {config.widths[-1]}",
        ),
        (
            config.adapter_window < stride or config.adapter_window % stride != 0,
            f"adapter_window: a multiple of the stride, {stride}, needed",
        ),
    ]


def vit_faults(config: VitConfig, channels: int) -> list[tuple[bool, str]]:
    """(whether it is so, what is wrong) for all that a network of `channels` latent channels cannot have."""
    square = config.tokens > 0 and round(config.tokens**0.5) ** 2 == config.tokens
    return [
        (any(width < HEAD or width % HEAD for width in config.widths), f"widths: multiples of {HEAD} needed"),
        (min(config.encoder_depth, config.decoder_depth) < 1, "depths: at least 1"),
        (config.patch < 1 or config.window < config.patch, "patch: 1 to the side of the window"),
        (config.patch > 0 and config.window % config.patch != 0, "window: a multiple of the patch needed"),
        (config.tokens < 1 or config.branches < 1, "tokens and branches: at least 1"),
        (
            not square and "grid" in (config.positions, config.layout),
            f"tokens: {config.tokens} are no square, which a grid needs",
        ),
        (
            config.branches > 1 and config.layout == "line",
            "branches: a sequence has one; give it more tokens instead",
        ),
        (
            config.branches > 0 and channels % config.branches != 0,
            f"branches: {config.branches} do not share {channels} latent channels equally",
        ),
    ]
