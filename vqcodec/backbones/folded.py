"""Convolutions at stride 8 with a latent at stride 16: the backbone of models with a quantization step.

The residual blocks of the encoder work at stride 8. A linear map of 2x2 positions gives the latent in Karhunen-Loeve
order, and the decoder inverts it. The latent has few strong and many weak channels, as scalar quantization needs.

    pixels -> unshuffle 8, stem, blocks, head (+ linear) -> fold 2x2 -> z           (encoder)
    pixels <- shuffle 8, tail (+ linear), blocks, head   <- unfold 2x2, coarse blocks <- z_q, kept (decoder)

The decoder is conditioned on the quantization step: the last channel of `kept` holds its coordinate, which scales and
shifts the input of every block (FiLM: Perez et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.model import FoldedConfig
from .base import Decoder, Encoder
from .conv import ResidualBlock

FINEST_STRIDE = 8
FOLD = 2
STRIDE = FINEST_STRIDE * FOLD
EMBEDDING = 8
"""Size of the embedding of the step's coordinate."""


class FoldedEncoder(Encoder):
    """Pixels x [B, 3, H, W] in -1..1, H and W multiples of 16 -> latent z [B, D, H / 16, W / 16]."""

    def __init__(self, config: FoldedConfig, channels: int, groups: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 * FINEST_STRIDE**2, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.encoder_depth))
        self.head = nn.Conv2d(config.width, config.bottleneck, 3, padding=1)
        self.linear = nn.Conv2d(3 * FINEST_STRIDE**2, config.bottleneck, 1)
        self.fold = nn.Conv2d(FOLD**2 * config.bottleneck, channels, 1)
        self.stride, self.halo = STRIDE, _reach(config.encoder_depth)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1 -> latent z float32 [B, D, H / 16, W / 16]."""
        blocks = F.pixel_unshuffle(x, FINEST_STRIDE)
        y = self.stem(blocks)
        for block in self.blocks:
            y = block(y)
        y = self.head(F.silu(y)).float() + _in_float32(self.linear, blocks)
        return _in_float32(self.fold, F.pixel_unshuffle(y, FOLD))


class ModulatedBlock(nn.Module):
    """Residual block whose input is scaled and shifted by an embedding [B, EMBEDDING]; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = ResidualBlock(channels)
        self.film = nn.Linear(EMBEDDING, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, C, H, W], embedding [B, EMBEDDING] -> [B, C, H, W]."""
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        block = self.block
        return x + block.conv2(F.silu(block.conv1(F.silu(x * (1 + scale) + shift))))


class FoldedDecoder(Decoder):
    """z_q [B, D, h, w] and kept [B, G + 1, h, w] -> pixels [B, 3, 16 * h, 16 * w], about -1..1, not clamped.

    The last channel of `kept` is the coordinate of the quantization step.
    """

    def __init__(self, config: FoldedConfig, channels: int, groups: int) -> None:
        super().__init__()
        self.tell = nn.Sequential(nn.Linear(1, 2 * EMBEDDING), nn.SiLU(), nn.Linear(2 * EMBEDDING, EMBEDDING))
        self.coarse_in = nn.Conv2d(channels + groups, config.coarse_width, 1) if config.coarse_depth else None
        self.coarse = nn.ModuleList(ModulatedBlock(config.coarse_width) for _ in range(config.coarse_depth))
        self.coarse_out = nn.Conv2d(config.coarse_width, channels, 1) if config.coarse_depth else None
        if self.coarse_out is not None:  # at the start these blocks add nothing
            nn.init.zeros_(self.coarse_out.weight)
            nn.init.zeros_(self.coarse_out.bias)  # type: ignore[arg-type]
        self.unfold = nn.Conv2d(channels + groups, FOLD**2 * config.bottleneck, 1)
        self.head = nn.Conv2d(config.bottleneck, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(ModulatedBlock(config.width) for _ in range(config.decoder_depth))
        self.tail = nn.Conv2d(config.width, 3 * FINEST_STRIDE**2, 3, padding=1)
        self.linear = nn.Conv2d(config.bottleneck, 3 * FINEST_STRIDE**2, 1)
        self.stride, self.halo = STRIDE, _reach(config.decoder_depth) + 2 * config.coarse_depth * STRIDE

    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w], kept [B, G + 1, h, w] -> pixels [B, 3, 16 * h, 16 * w], about -1..1."""
        embedding = self.tell(kept[:, -1:, 0, 0])
        there = kept[:, :-1]
        if self.coarse_in is not None and self.coarse_out is not None:
            y = self.coarse_in(torch.cat([z_q, there], 1))
            for block in self.coarse:
                y = block(y, embedding)
            z_q = z_q + self.coarse_out(F.silu(y)).float()
        z = F.pixel_shuffle(_in_float32(self.unfold, torch.cat([z_q, there], 1)), FOLD)
        y = self.head(z)
        for block in self.blocks:
            y = block(y, embedding)
        return F.pixel_shuffle(self.tail(F.silu(y)).float() + _in_float32(self.linear, z), FINEST_STRIDE)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels."""
        return self.tail.weight


def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply `layer` outside of autocast: bfloat16 would round away small differences of the strong channels."""
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = layer(x.float())
    return y


def _reach(depth: int) -> int:
    """Halo, px: reach of two convolutions per block and two more, to each side, in whole steps."""
    return -(-(2 * depth + 2) * FINEST_STRIDE // STRIDE) * STRIDE
