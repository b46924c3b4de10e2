"""Residual quantization: N stages, each quantizing the residual of those before it (Lee et al. 2022, RQ-VAE)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..config.quantizers import MultiScaleConfig, ResidualConfig
from ..planes import MISSING
from .base import Quantized, Quantizer, grid_of, rows_of
from .single import Code

NORMAL = 2**-0.5
"""Factor from a standard normal value to the argument of erf."""


class Residual(Quantizer):
    """z [B, D, *] <-> N planes; the sum of their codewords approximates z.

    In training the first samples, a share of `dropout`, keep `dropout_start`..N stages, drawn from the noise
    (quantizer dropout, as in XQ-GAN).
    """

    def __init__(self, config: ResidualConfig | MultiScaleConfig, codes: list[Code]) -> None:
        super().__init__()
        self.sizes, self.stages = config.sizes, config.stages
        self.dropout, self.dropout_start = config.dropout, config.dropout_start
        self.codes = nn.ModuleList(codes)

    def code(self, stage: int) -> Code:
        """The code of `stage`."""
        code = self.codes[min(stage, len(self.codes) - 1)]
        assert isinstance(code, Code)
        return code

    def down(self, rest: Tensor, stage: int) -> Tensor:
        """Residual [B, D, *] -> the same on the grid of `stage`."""
        return rest

    def up(self, code: Tensor, stage: int, grid: torch.Size) -> Tensor:
        """Codewords [B, D, *] on the grid of `stage` -> their contribution on `grid`."""
        return code

    def forward(
        self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None, stages_kept: Tensor | None = None
    ) -> Quantized:
        """`stages_kept` [B] is the number of stages that each sample keeps; None: drawn by dropout in training."""
        x = self._project(z)
        target = x.detach()
        if stages_kept is None:
            stages_kept = self.draw_stages(noise)
        rest, total = target, torch.zeros_like(x)
        planes: list[Tensor] = []
        commitments, codebooks, entropies = [], [], []
        for stage in range(self.stages):
            low = self.down(rest, stage)
            plane, code = self._coded(low, stage, learn=self.training)
            planes.append(plane)
            code = self.up(code, stage, z.shape[2:])
            shown = stage < stages_kept
            there = shown.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
            entropies.append(self._entropy((x - total.detach())[self.samples(shown)], stage))
            total = total + code * there
            rest = rest - code.detach()
            share = there.mean().clamp_min(1e-6)
            codebooks.append((there * (total - target).square()).mean() / share)
            commitments.append((there * (total.detach() - x).square()).mean() / share)
            if entropies[-1] is not None:
                entropies[-1] = entropies[-1] / share
        z_q = x + (total - x).detach() if self.training else total
        share_kept = (stages_kept.clamp_max(self.stages) / self.stages).to(x.dtype)
        kept = share_kept.reshape(-1, *[1] * (x.dim() - 1)).expand(-1, 1, *z.shape[2:])
        found = [entropy for entropy in entropies if entropy is not None]
        entropy = torch.stack(found).mean() if found else None
        return Quantized(z_q, planes, _mean(commitments), _mean(codebooks), entropy, kept)

    @override
    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        return super().bypass(self._project(z), noise)

    def samples(self, shown: Tensor) -> Tensor:
        """Samples that keep a stage [B] of 0 and 1 -> sample numbers in its entropy loss.

        As in the released XQ-GAN, the zeros and ones themselves are the sample numbers.
        """
        return shown

    @override
    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        rest = self._project(z)
        planes = []
        for stage in range(self.stages):
            plane, code = self._coded(self.down(rest, stage), stage)
            rest = rest - self.up(code, stage, z.shape[2:])
            planes.append(plane)
        return planes

    @override
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        grid = indices[-1].shape[1:]
        total: Tensor | int = 0
        kept: Tensor | int = 0
        for stage, plane in enumerate(indices):
            there = (plane != MISSING)[:, None].float()
            words = self.code(stage).codewords(plane.clamp_min(0).flatten())
            code = grid_of(words * self.code(stage).step(stage).to(words), plane)
            shown = _enlarged(there, grid)
            total = total + self.up(code * there, stage, grid) * shown
            kept = kept + shown / self.stages
        assert isinstance(total, Tensor)
        assert isinstance(kept, Tensor)
        return total, kept

    def _project(self, z: Tensor) -> Tensor:
        """Projection of the first stage's code, applied once: residuals are not projected."""
        return grid_of(self.code(0).project(rows_of(z)), z[:, 0])

    def _coded(self, low: Tensor, stage: int, learn: bool = False) -> tuple[Tensor, Tensor]:
        """Residual [B, D, *] -> its index plane [B, *] and codewords [B, D, *]."""
        code, rows = self.code(stage), rows_of(low)
        step = code.step(stage).to(rows)
        with torch.no_grad():
            index = code.choose(rows / step)
        plane = index.reshape(len(low), *low.shape[2:])
        words = code.codewords(index) * step
        if learn:
            code.learn(rows.detach() / step, index)
        return plane, grid_of(words, plane)

    def _entropy(self, rest: Tensor, stage: int) -> Tensor | None:
        """Entropy loss of the residual before `stage` [B', D, *], on the latent's own grid."""
        if not self.wants_entropy or not len(rest):
            return None
        return self.code(stage).entropy(rows_of(rest), stage)

    def draw_stages(self, noise: Tensor) -> Tensor:
        """noise [B, D, *] -> number of stages that each sample keeps [B], dropout_start..N; N outside of training.

        The caller's noise is the only source of randomness.
        """
        kept = torch.full((len(noise),), self.stages, device=noise.device)
        dropped = int(len(noise) * self.dropout) if self.training else 0
        if dropped:
            even = (torch.erf(noise[:dropped].flatten(1)[:, 0] * NORMAL) + 1) / 2
            span = self.stages - self.dropout_start + 1
            kept[:dropped] = self.dropout_start + (even * span).long().clamp(0, span - 1)
        return kept


def make_residual(config: ResidualConfig, make: Callable[[], Code]) -> Residual:
    """Build the stages, each with a code of its own, or one code for all."""
    return Residual(config, [make() for _ in range(1 if config.shared else config.stages)])


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def _enlarged(there: Tensor, grid: torch.Size) -> Tensor:
    """Mask [B, 1, *] of 0 and 1 -> the same on `grid`."""
    return there if there.shape[2:] == grid else F.interpolate(there, size=tuple(grid), mode="nearest")
