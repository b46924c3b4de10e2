"""Tokenizer = encoder + quantizer + decoder: pixels to index planes and back.

The codec calls `encode` and `decode`; the trainer calls `forward` with a keep map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .backbones.conv import ConvDecoder, ConvEncoder
from .config import MISSING, TokenizerConfig
from .quantizers.product import ProductVQ


class Reconstruction(NamedTuple):
    """Result of one training forward pass."""

    x: Tensor
    """[B, 3, H, W], about -1..1."""
    z: Tensor
    """Latent before quantization [B, D, h, w]."""
    indices: list[Tensor]
    """Planes [B, h, w]; empty before the codebooks have been started."""
    commitment: Tensor
    """Scalar."""


class Tokenizer(nn.Module):
    """H and W of every picture must be multiples of `config.stride`."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.stride = config.stride
        channels = config.quantizer.groups * config.quantizer.dim
        self.encoder = ConvEncoder(config.backbone, channels)
        self.quantizer = ProductVQ(config.quantizer)
        self.decoder = ConvDecoder(config.backbone, channels + config.quantizer.groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Alphabet size of each plane."""
        return self.quantizer.sizes

    @property
    def codebooks(self) -> Tensor:
        """[G, K, d]."""
        codebooks: Tensor = self.quantizer.bank.codebooks
        return codebooks

    def encode(self, x: Tensor) -> list[Tensor]:
        """Pixels x [B, 3, H, W] in -1..1 -> planes [B, h, w] int64, coarse to fine."""
        return self.quantizer.quantize(self.encoder(x).float())

    def decode(self, planes: list[Tensor], keep: int | None = None) -> Tensor:
        """Planes [B, h, w], MISSING where unknown -> pixels [B, 3, H, W], about -1..1, not clamped.

        `keep` hides all but the first 1..G planes.
        """
        if keep is not None:
            planes = [p if i < keep else torch.full_like(p, MISSING) for i, p in enumerate(planes)]
        z_q, kept = self.quantizer.dequantize(planes)
        return self.decoder(torch.cat([z_q, kept], 1))

    def forward(self, x: Tensor, kept: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """x [B, 3, H, W], kept [B, G, h, w] of 0 and 1 -> Reconstruction, differentiable.

        With `noise` (like z) the quantizer is bypassed: the latent plus noise, for the steps before k-means.
        """
        z = self.encoder(x).float()
        with torch.autocast(x.device.type, enabled=False):
            if noise is None:
                z_q, indices, commitment = self.quantizer(z)
            else:
                z_q, indices, commitment = z + noise, [], z.square().mean()
            latent = torch.cat([self.quantizer.mask(z_q, kept), kept], 1)
        return Reconstruction(self.decoder(latent), z, indices, commitment)
