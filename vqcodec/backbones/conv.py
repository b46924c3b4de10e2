"""3x3 convolutions with a bounded receptive field.

There is no normalisation, attention or other global operation, so an output depends on at most `halo` pixels to each
side, and a large picture is computed window by window without seams.

              stride 8                      stride 16
    pixels -> unshuffle 8, stem, blocks -> down, blocks -> z          (encoder)
    pixels <- shuffle 8, tail,  blocks <- up,   blocks <- z_q, kept   (decoder)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.backbones import FINEST_STRIDE, ConvConfig
from .base import Decoder, Encoder


class ResidualBlock(nn.Module):
    """Residual block x + conv(silu(conv(silu(x)))), size unchanged, with a reach of 2 steps to each side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # A deep stack without normalisation has to start close to the identity.
        with torch.no_grad():
            self.conv2.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape."""
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))


class ConvEncoder(Encoder):
    """Pixels x [B, 3, H, W] in -1..1, H and W multiples of the stride -> latent z [B, D, h, w]."""

    def __init__(self, config: ConvConfig, channels: int, groups: int) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv2d(3 * FINEST_STRIDE**2, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(_blocks(w, d) for w, d in zip(widths, config.encoder_depths, strict=True))
        self.downs = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in zip(widths, widths[1:], strict=False)
        )
        self.head = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.stride = config.stride
        self.linear = nn.Conv2d(3 * self.stride**2, channels, 1) if config.linear_path else None
        self.halo = config.encoder_halo

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1 -> latent z [B, D, H / stride, W / stride]."""
        linear = _in_float32(self.linear, F.pixel_unshuffle(x, self.stride)) if self.linear is not None else 0
        x = self.stem(F.pixel_unshuffle(x, FINEST_STRIDE))
        for i, stage in enumerate(self.stages):
            x = stage(x if i == 0 else self.downs[i - 1](x))
        return self.head(F.silu(x)) + linear


class ConvDecoder(Decoder):
    """Latent [B, D, h, w] and its keep map [B, G, h, w] -> pixels x [B, 3, H, W], about -1..1, not clamped."""

    def __init__(self, config: ConvConfig, channels: int, groups: int) -> None:
        super().__init__()
        widths = config.widths
        self.head = nn.Conv2d(channels + groups, widths[-1], 3, padding=1)
        self.stages = nn.ModuleList(_blocks(w, d) for w, d in zip(widths, config.decoder_depths, strict=True))
        self.ups = nn.ModuleList(
            nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in zip(widths, widths[1:], strict=False)
        )
        self.tail = nn.Conv2d(widths[0], 3 * FINEST_STRIDE**2, 3, padding=1)
        self.stride = config.stride
        self.linear = nn.Conv2d(channels + groups, 3 * self.stride**2, 1) if config.linear_path else None
        self.halo = config.decoder_halo

    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w], kept [B, G, h, w] -> pixels [B, 3, stride * h, stride * w], about -1..1."""
        z = torch.cat([z_q, kept], 1)
        linear = F.pixel_shuffle(_in_float32(self.linear, z), self.stride) if self.linear is not None else 0
        x = self.head(z)
        for i in reversed(range(len(self.stages))):
            x = self.stages[i](x)
            if i > 0:
                x = F.pixel_shuffle(self.ups[i - 1](x), 2)
        return F.pixel_shuffle(self.tail(F.silu(x)), FINEST_STRIDE) + linear

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels."""
        return self.tail.weight


def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply `layer` outside of autocast: bfloat16 would round away small differences of the strong channels."""
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = layer(x.float())
    return y
