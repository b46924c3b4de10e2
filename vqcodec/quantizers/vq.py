"""A bank of codebooks learned by moving averages, with a k-means start and revival of dead codewords.

Van den Oord et al. 2017, appendix A.1 (moving averages); Zheng and Vedaldi 2023 (CVQ-VAE, revival).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def nearest(z: Tensor, codebooks: Tensor) -> Tensor:
    """z [G, N, d], codebooks [G, K, d] -> index of the nearest codeword [G, N], int64."""
    # argmin |z - c|^2 over c does not need |z|^2.
    score = torch.baddbmm((codebooks * codebooks).sum(-1)[:, None, :], z, codebooks.transpose(1, 2), alpha=-2)
    return score.argmin(-1)


class CodebookBank(nn.Module):
    """G codebooks [G, K, d]. In training mode `update` moves them; otherwise they are constants."""

    codebooks: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, groups: int, codebook_size: int, dim: int, decay: float = 0.95, revive_below: float = 0.03
    ) -> None:
        super().__init__()
        self.decay = decay
        self.revive_below = revive_below
        self.register_buffer("codebooks", torch.randn(groups, codebook_size, dim))
        # Training state of the moving averages; a shipped model does not hold it.
        self.register_buffer("counts", torch.ones(groups, codebook_size))
        self.register_buffer("sums", self.codebooks.clone())

    def lookup(self, index: Tensor) -> Tensor:
        """index [G, N] -> codewords [G, N, d]."""
        return self.codebooks.gather(1, index[..., None].expand(-1, -1, self.codebooks.shape[-1]))

    @torch.no_grad()
    def update(self, z: Tensor, index: Tensor) -> None:
        """One moving-average step towards z [G, N, d], assigned to index [G, N]."""
        hits = torch.zeros_like(self.counts).scatter_add_(1, index, torch.ones_like(index, dtype=z.dtype))
        total = torch.zeros_like(self.sums).scatter_add_(1, index[..., None].expand_as(z), z)
        self.counts.lerp_(hits, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        self.codebooks.copy_(self.sums / self.counts.clamp_min(1e-5)[..., None])

    @torch.no_grad()
    def revive(self, z: Tensor, generator: torch.Generator) -> int:
        """Replace codewords used less than `revive_below` of the mean by random rows of z; return how many."""
        mean = self.counts.mean(1, keepdim=True)
        dead = self.counts < self.revive_below * mean
        for g in range(dead.shape[0]):
            slots = dead[g].nonzero()[:, 0]
            if len(slots):
                rows = torch.randint(z.shape[1], (len(slots),), generator=generator).to(z.device)
                self.codebooks[g, slots] = z[g, rows]
                self.counts[g, slots] = mean[g]
                self.sums[g, slots] = z[g, rows] * mean[g]
        return int(dead.sum())

    @torch.no_grad()
    def kmeans(self, z: Tensor, generator: torch.Generator, iterations: int = 12) -> None:
        """Start the codebooks from z [G, N, d] by Lloyd's algorithm; an empty cluster restarts at a random row."""
        groups, n, dim = z.shape
        size = self.codebooks.shape[1]
        start = torch.randperm(n, generator=generator)[:size].to(z.device)
        start = start.repeat(-(-size // len(start)))[:size]
        self.codebooks.copy_(z[:, start])
        for _ in range(iterations):
            index = nearest(z, self.codebooks)
            hits = torch.zeros_like(self.counts).scatter_add_(1, index, torch.ones_like(index, dtype=z.dtype))
            total = torch.zeros_like(self.sums).scatter_add_(1, index[..., None].expand_as(z), z)
            rows = torch.randint(n, (size,), generator=generator).to(z.device)
            centre = total / hits.clamp_min(1)[..., None]
            self.codebooks.copy_(torch.where(hits[..., None] > 0, centre, z[:, rows]))
        self.counts.copy_(hits.clamp_min(1e-3) / max(n // size, 1))
        self.counts.mul_(1.0 / self.counts.mean())
        self.sums.copy_(self.codebooks * self.counts[..., None])
