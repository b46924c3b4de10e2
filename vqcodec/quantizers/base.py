"""What every quantizer answers: forward for training, quantize and dequantize for the codec.

Legend: B batch, D latent channels, h w token grid, K codewords, d codeword dimension, G groups.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Quantized(NamedTuple):
    """Result of a training step through a quantizer."""

    z_q: Tensor
    """[B, D, h, w], the codewords or what stands for them in training, with a gradient towards z."""
    indices: list[Tensor]
    """One plane [B, h, w] of int64 per sub-codebook."""
    loss: Tensor
    """Commitment, a scalar."""


class Quantizer(nn.Module):
    """`sizes[s]` is the alphabet size of plane s; planes come coarse to fine."""

    sizes: tuple[int, ...]

    @abstractmethod
    def forward(self, z: Tensor) -> Quantized:
        """z [B, D, h, w] -> Quantized."""

    @abstractmethod
    def quantize(self, z: Tensor) -> list[Tensor]:
        """z [B, D, h, w] -> planes [B, h, w] int64, entries 0..K-1."""

    @abstractmethod
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Planes [B, h, w], MISSING where unknown -> z_q [B, D, h, w] with its fill, kept [B, G, h, w] of 0 and 1.

        The only path decoding takes.
        """
