"""Uniform scalar quantization with one step per file: one plane of integers per latent channel.

The latent is a wavelet transform with a gain for each level, so one step serves all channels; small values round to 0.
Indices are the rounded values plus LARGEST, so that they start at 0. Groups of channels are the layers of a file,
coarse to fine, masked as in MGVQ (section 3): missing values are 0, the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config.quantizers import LARGEST, STEPS, UniformConfig
from ..planes import MISSING
from ..transforms.lifting import lift, unlift
from ..transforms.steps import FINEST, PER_OCTAVE, coordinate, step_size
from .base import Quantized, Quantizer


class Uniform(Quantizer):
    """Scalar quantizer: z [B, D, h, w] <-> D planes [B, h, w] at a step number."""

    def __init__(self, config: UniformConfig) -> None:
        super().__init__()
        self.sizes, self.widths, self.groups, self.lifted = config.sizes, config.widths, config.groups, config.lifted

    def forward(self, z: Tensor, noise: Tensor, step_numbers: Tensor | None = None) -> Quantized:
        """Quantize in training; `step_numbers` [B] holds step numbers. Straight-through gradient."""
        numbers = z.new_full((len(z),), STEPS / 2) if step_numbers is None else step_numbers
        size = (FINEST * 2 ** (numbers / PER_OCTAVE))[:, None, None, None]
        values = torch.round(self.coefficients(z) / size).clamp(-LARGEST, LARGEST)
        z_q = z + (self.latent(values * size) - z).detach()
        zero = z.new_zeros(())
        return Quantized(z_q, [plane.long() + LARGEST for plane in values.unbind(1)], zero, zero)

    def quantize(self, z: Tensor, step: float = STEPS / 2) -> list[Tensor]:
        """Round to the nearest values at step number `step`."""
        values = torch.round(self.coefficients(z) / step_size(step)).clamp(-LARGEST, LARGEST).long() + LARGEST
        return list(values.unbind(1))

    def coefficients(self, z: Tensor) -> Tensor:
        """Latent [B, D, h, w] of a whole picture -> values to round, the first channels as wavelet coefficients."""
        return torch.cat([lift(z[:, : self.lifted]), z[:, self.lifted :]], 1) if self.lifted else z

    def latent(self, coefficients: Tensor) -> Tensor:
        """Inverse of `coefficients`."""
        if not self.lifted:
            return coefficients
        return torch.cat([unlift(coefficients[:, : self.lifted]), coefficients[:, self.lifted :]], 1)

    @staticmethod
    def _values(stacked: Tensor, step: int) -> Tensor:
        return torch.where(stacked != MISSING, stacked - LARGEST, 0).float() * step_size(step)

    def dequantize(
        self, indices: list[Tensor], step: int = STEPS // 2, lifted_channels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Planes [B, h, w] at a step number -> z_q [B, D, h, w], kept [B, G + 1, h, w].

        For a window of a picture `lifted_channels` is its part of the low band without its wavelet. The last channel of
        `kept` is the step's coordinate; the others are 1 where all planes of a layer are known.
        """
        stacked = torch.stack(indices, 1)
        there = stacked != MISSING
        z_q = self._values(stacked, step)
        z_q = self.latent(z_q) if lifted_channels is None else torch.cat([lifted_channels, z_q[:, self.lifted :]], 1)
        kept = torch.stack([part.all(1) for part in torch.split(there, list(self.widths), 1)], 1).float()
        return z_q, torch.cat([kept, torch.full_like(kept[:, :1], coordinate(step))], 1)
