"""Convolutional VQGAN of LlamaGen: the backbone of FQGAN (with adapters) and of XQ-GAN's CNN (without).

Group normalisation covers the whole picture, so the receptive field is unbounded. One or more branches follow the
shared network; each outputs an equal share of the latent's channels, in the order of the quantizer's groups.

              stride 1                     stride 16
    pixels -> stem, blocks -> down, ... -> blocks, middle -> branches: (adapter,) head, to_latent -> z    (encoder)
    pixels <- tail, blocks <- up,   ... <- blocks, middle <- stem, from_latent <- z_q                      (decoder)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.backbones import VqganConfig
from .base import Decoder, Encoder
from .vqgan_blocks import Adapter, Attention, Down, ResidualBlock, Up, norm


class Branch(nn.Module):
    """Branch of the encoder: features [B, C, h, w] -> channels of the latent [B, D / branches, h, w]."""

    def __init__(self, config: VqganConfig, channels: int) -> None:
        super().__init__()
        width = config.widths[-1]
        side = config.adapter_window // 2 ** (len(config.widths) - 1)
        self.adapter = (
            Adapter(width, side**2, config.adapter_depth, config.adapter_heads) if config.adapters else nn.Identity()
        )
        self.norm = norm(width)
        self.head = nn.Conv2d(width, config.latent, 3, padding=1)
        self.to_latent = nn.Conv2d(config.latent, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features x [B, C, h, w] -> channels of the latent [B, D / branches, h, w]."""
        return self.to_latent(self.head(F.silu(self.norm(self.adapter(x)))))


class VqganEncoder(Encoder):
    """Encoder: pixels [B, 3, H, W] in -1..1, H and W multiples of the stride -> latent z [B, D, h, w]."""

    halo = None

    def __init__(self, config: VqganConfig, channels: int, groups: int) -> None:
        super().__init__()
        widths, branches = config.widths, max(config.adapters, 1)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        before = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            _stage(enters, width, depth, attentive=i == len(widths) - 1)
            for i, (enters, width, depth) in enumerate(zip(before, widths, config.encoder_depths, strict=True))
        )
        self.downs = nn.ModuleList(Down(width) for width in widths[:-1])
        self.middle = _middle(widths[-1])
        self.branches = nn.ModuleList(Branch(config, channels // branches) for _ in range(branches))

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1 -> latent z [B, D, H / stride, W / stride]."""
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            x = stage(x if i == 0 else self.downs[i - 1](x))
        x = self.middle(x)
        return torch.cat([branch(x) for branch in self.branches], 1)


class VqganDecoder(Decoder):
    """Decoder: latent z_q [B, D, h, w] -> pixels [B, 3, H, W], about -1..1, not clamped."""

    halo = None

    def __init__(self, config: VqganConfig, channels: int, groups: int) -> None:
        super().__init__()
        widths = config.widths
        self.from_latent = nn.Conv2d(channels, config.latent, 1)
        self.stem = nn.Conv2d(config.latent, widths[-1], 3, padding=1)
        self.middle = _middle(widths[-1])
        before = (*widths[1:], widths[-1])
        self.stages = nn.ModuleList(
            _stage(enters, width, depth, attentive=i == len(widths) - 1)
            for i, (enters, width, depth) in enumerate(zip(before, widths, config.decoder_depths, strict=True))
        )
        self.ups = nn.ModuleList(Up(width) for width in widths[1:])
        self.norm = norm(widths[0])
        self.tail = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w] -> pixels [B, 3, stride * h, stride * w], about -1..1; `kept` is not used."""
        x = self.middle(self.stem(self.from_latent(z_q)))
        for i in reversed(range(len(self.stages))):
            x = self.stages[i](x)
            if i > 0:
                x = self.ups[i - 1](x)
        return self.tail(F.silu(self.norm(x)))

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels."""
        return self.tail.weight


def _stage(enters: int, width: int, depth: int, attentive: bool) -> nn.Sequential:
    """Stage of `depth` residual blocks, `enters` to `width` channels; `attentive`: attention after each block."""
    blocks: list[nn.Module] = []
    for i in range(depth):
        blocks.append(ResidualBlock(enters if i == 0 else width, width))
        if attentive:
            blocks.append(Attention(width))
    return nn.Sequential(*blocks)


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(width, width), Attention(width), ResidualBlock(width, width))
