"""Residual stages of mixtures of codewords: SoftVQ with residual quantization (Chen et al. 2024, section 4.5).

Mixtures are differentiable, so no gradient estimator is needed, and a file holds several planes of each stage.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..config.quantizers import ResidualConfig
from .base import Quantized, Quantizer
from .soft import SoftVQ


class SoftResidual(Quantizer):
    """z [B, D, *] <-> the planes of each stage, first to last; the sum of their mixtures approximates z."""

    def __init__(self, config: ResidualConfig, make: Callable[[], SoftVQ]) -> None:
        super().__init__()
        self.sizes, self.stages = config.sizes, config.stages
        self.parts = nn.ModuleList(make() for _ in range(1 if config.shared else config.stages))

    def part(self, stage: int) -> SoftVQ:
        """The mixtures of `stage`."""
        part = self.parts[min(stage, len(self.parts) - 1)]
        assert isinstance(part, SoftVQ)
        return part

    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None) -> Quantized:
        """Each stage approximates the residual of those before it; the index plane is that of the first stage."""
        rest, entropies = z, []
        planes: list[Tensor] = []
        for stage in range(self.stages):
            made = self.part(stage)(rest, noise)
            planes = planes or made.indices
            entropies += [] if made.entropy is None else [made.entropy]
            rest = rest - made.z_q
        zero = z.new_zeros(())
        entropy = torch.stack(entropies).mean() if entropies else None
        return Quantized(z - rest, planes, zero, zero, entropy, z.new_ones(len(z), 1, *z.shape[2:]))

    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        """Each stage quantizes the residual of the terms before it, as a file holds them."""
        planes: list[Tensor] = []
        for stage in range(self.stages):
            part = self.part(stage)
            found = part.quantize(z, lmbda)
            z = z - part.dequantize(found)[0]
            planes += found
        return planes

    @override
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        size = len(indices) // self.stages
        found = [self.part(n).dequantize(indices[n * size : (n + 1) * size]) for n in range(self.stages)]
        total = torch.stack([code for code, _ in found]).sum(0)
        return total, torch.stack([kept for _, kept in found]).mean(0)
