"""Multi-scale residual quantization: the stages of residual.py on growing grids (Tian et al. 2024, VAR; XQ-GAN).

The residual is averaged down to the grid of its scale, quantized there, and enlarged by bicubic interpolation. A
convolution, one of a few that the scales share, corrects the enlarged latent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.quantizers import MultiScaleConfig
from .residual import Residual
from .single import Code


class MultiScale(Residual):
    """Quantizer of z [B, D, h, w], or a sequence [B, D, L]: one plane per scale, one code for all scales."""

    def __init__(self, config: MultiScaleConfig, code: Code) -> None:
        super().__init__(config, [code])
        self.shapes, self.blend = config.shapes, config.blend
        self.mends = nn.ModuleList(
            nn.Conv2d(config.channels, config.channels, 3, padding=1) for _ in range(config.convolutions)
        )
        self.mend_of = nearest_tick(self.stages, config.convolutions)

    def down(self, rest: Tensor, stage: int) -> Tensor:
        """Remainder [B, D, *] -> mean over areas on the grid of `stage`; unchanged for the last stage."""
        grid = self.shapes(tuple(rest.shape[2:]))[stage]
        return rest if stage == self.stages - 1 else F.interpolate(rest, size=grid, mode="area")

    def up(self, code: Tensor, stage: int, grid: torch.Size) -> Tensor:
        """Codewords [B, D, *] on the grid of `stage` -> [B, D, *grid], enlarged and convolved."""
        # A sequence is a picture of one row.
        wide = code if code.dim() == 4 else code[:, :, None]
        size = tuple(grid) if len(grid) == 2 else (1, *grid)
        if stage < self.stages - 1:
            wide = F.interpolate(wide, size=size, mode="bicubic")
        if self.mends:
            wide = (1 - self.blend) * wide + self.blend * self.mends[self.mend_of[stage]](wide)
        return wide.reshape(*wide.shape[:2], *grid)


def nearest_tick(stages: int, convolutions: int) -> list[int]:
    """Number of the convolution of each stage: the one whose tick is nearest to the stage's position, both over 0..1.

    The outermost of n ticks are 1/(2n) from the ends, of four 1/12, as in VAR and XQ-GAN.
    """
    if not convolutions:
        return [0] * stages
    # Same arithmetic as theirs: some positions lie half-way between two ticks, where the last digit decides.
    edge = 1 / 3 / convolutions if convolutions == 4 else 1 / 2 / convolutions
    ticks = np.linspace(edge, 1 - edge, convolutions)
    return [int(np.argmin(abs(ticks - stage / max(stages - 1, 1)))) for stage in range(stages)]
