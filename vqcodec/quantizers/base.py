"""What every quantizer answers: forward and bypass for training, quantize and dequantize for the codec.

Legend: B batch, D latent channels, h w token grid, K codewords, d codeword dimension, G groups.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Quantized(NamedTuple):
    """Result of a training step through a quantizer. Both losses are means over samples."""

    z_q: Tensor
    """[B, D, h, w], the codewords or what stands for them in training, with a gradient towards z."""
    indices: list[Tensor]
    """One plane [B, h, w] of int64 per sub-codebook."""
    commitment: Tensor
    """Scalar: how far z is from its codewords, with a gradient towards z."""
    codebook: Tensor
    """Scalar: the same distance, with a gradient towards codewords that are learned by gradient."""


class Quantizer(nn.Module):
    """`sizes[s]` is the alphabet size of plane s; planes come coarse to fine."""

    sizes: tuple[int, ...]

    @abstractmethod
    def forward(self, z: Tensor, noise: Tensor, rate: Tensor | None = None) -> Quantized:
        """z and unit Gaussian noise [B, D, h, w] -> Quantized; `rate` [B] weighs bits against distance, default 1."""

    @abstractmethod
    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        """Like `forward`, for the steps before the codebooks have been started: noise instead, no indices."""

    @abstractmethod
    def quantize(self, z: Tensor, rate: float = 1.0) -> list[Tensor]:
        """z [B, D, h, w] -> planes [B, h, w] int64, entries 0..K-1.

        `rate` says how much the cost of a codeword counts, 0 for the nearest one; 1 is what training had in mind.
        """

    @abstractmethod
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Planes [B, h, w], MISSING where unknown -> z_q [B, D, h, w] with its fill, kept [B, G, h, w] of 0 and 1.

        The only path decoding takes.
        """
