"""Finite scalar quantization: every channel bounded and rounded to one of a few levels (Mentzer et al. 2023).

There is no codebook that could collapse, and there are no quantizer losses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..config.quantizers import FSQConfig
from .base import Quantized
from .single import Code

EDGE = 1e-3
"""Margin of the bounded channel beyond the outermost levels, so that these can be reached."""


class FSQ(Code):
    """Rows [N, d] <-> index, mixed radix with the first channel fastest. It has no tensors.

    Channel i has levels (k - floor(L_i / 2)) / floor(L_i / 2) for k = 0..L_i - 1.
    """

    def __init__(self, config: FSQConfig) -> None:
        super().__init__(config)
        self.levels = config.levels
        self.radix = tuple(math.prod(config.levels[:i]) for i in range(len(config.levels)))

    def project(self, rows: Tensor) -> Tensor:
        """Bound rows by a tanh shifted so that 0 maps to 0, in units of the levels."""
        levels, half = self._levels(rows)
        reach = (levels - 1) * (1 + EDGE) / 2
        offset = (levels % 2 == 0) * 0.5
        bounded = torch.tanh(rows + torch.atanh(offset / reach)) * reach - offset
        return bounded / half

    def step(self, stage: int) -> Tensor:
        """Scale of each channel in `stage` [d]: (half the distance of two levels)**stage."""
        return torch.tensor([(0.5 / (level // 2)) ** stage for level in self.levels])

    def choose(self, rows: Tensor) -> Tensor:
        """Projected rows [N, d] -> index int64 [N] of the nearest levels."""
        levels, half = self._levels(rows)
        digits = (rows * half).round().long() + levels // 2
        return (digits.clamp_min(0).minimum(levels - 1) * torch.tensor(self.radix, device=rows.device)).sum(1)

    def codewords(self, index: Tensor) -> Tensor:
        """Index [N] -> levels [N, d] in -1..1."""
        levels, half = self._levels(index)
        digits = index[:, None] // torch.tensor(self.radix, device=index.device) % levels
        return (digits - levels // 2) / half

    def _levels(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Number of levels [d], and the number on the larger side of zero [d]."""
        levels = torch.tensor(self.levels, device=like.device)
        return levels, (levels // 2).float()

    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None) -> Quantized:
        """z and noise [B, d, *] -> Quantized, its commitment and codebook losses 0."""
        found = super().forward(z, noise, lmbda)
        return found._replace(commitment=z.new_zeros(()), codebook=z.new_zeros(()))
