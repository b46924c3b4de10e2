"""Binary quantization, one sign bit per channel: lookup-free (LFQ) and binary spherical quantization (BSQ).

Yu et al. 2024 (MAGVIT-v2); Zhao, Xiong and Krähenbühl 2024. XQ-GAN uses them over residual scales only; here they
also work alone or in residual stages.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config.quantizers import BinaryConfig
from .base import entropy_of, unit_length
from .single import Code

SHARPNESS = 4.0
"""Inverse temperature of the soft bits in the entropy loss, a softmax of -(distance^2) over the two values."""


class Binary(Code):
    """Rows [N, b] <-> index: bit i, of weight 2^i, is set where channel i is above 0. It has no tensors."""

    def __init__(self, config: BinaryConfig) -> None:
        super().__init__(config)
        self.spherical, self.scale = config.spherical, config.scale
        self.value = config.bits**-0.5 if config.spherical else 1.0

    def project(self, rows: Tensor) -> Tensor:
        """Rows [N, b] -> the same, of length 1 if spherical."""
        return unit_length(rows) if self.spherical else rows

    def step(self, stage: int) -> Tensor:
        """Scale of the values in `stage` [1]: scale**stage."""
        return torch.tensor([self.scale**stage])

    def choose(self, rows: Tensor) -> Tensor:
        """Rows [N, b] -> index int64 [N], 0..2^b - 1: bit i is the sign of channel i."""
        return ((rows > 0).long() << self._places(rows)).sum(1)

    def codewords(self, index: Tensor) -> Tensor:
        """Index [N] -> [N, b] of -value and value."""
        return ((index[:, None] >> self._places(index) & 1).float() * 2 - 1) * self.value

    def entropy(self, rows: Tensor, stage: int = 0) -> Tensor:
        """Mean entropy of the bits minus that of the mean bits, each summed over the bits (BSQ's approximation).

        Bits are independent given the latent, so the first sum is exact. The second sum is an upper bound on the
        entropy of the mean over 2^b codewords.
        """
        p = torch.sigmoid(SHARPNESS * rows * self.value * self.step(stage).to(rows))
        return _bits_entropy(p).sum(1).mean() - _bits_entropy(p.mean(0)).sum()

    def _places(self, like: Tensor) -> Tensor:
        return torch.arange(self.dim, device=like.device)


def _bits_entropy(p: Tensor) -> Tensor:
    """Entropy of bits with probabilities p, in nats, entry by entry."""
    return entropy_of(torch.stack([p, 1 - p], -1))
