"""Bank of codebooks, learned by moving averages or by gradient, with a k-means start and two kinds of revival.

Van den Oord et al. 2017, appendix A.1 (moving averages); Zheng and Vedaldi 2023 (CVQ-VAE, revival).

In a run of several processes all banks stay equal: `update` sums the assignments of all processes; `kmeans`, `revive`
and `blend` take the rows of the global batch, gathered by the caller, and a generator in the same state in every
process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

SCORES = 2**26
"""Most distances in memory at once; bounds the memory of large codebooks on large pictures."""


def nearest(z: Tensor, codebooks: Tensor, costs: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """z [G, N, d], codebooks [G, K, d] -> index of the nearest codeword [G, N], int64.

    `costs` [G, K] are added to the squared distances, times `weight` [G, N] if given (entropy-constrained vector
    quantization: Chou, Lookabaugh and Gray 1989).
    """
    # argmin |z - c|^2 over c does not need |z|^2.
    lengths = (codebooks * codebooks).sum(-1)
    flipped = -2 * codebooks.transpose(1, 2)
    if costs is not None and weight is not None:
        z = torch.cat([z, weight[:, :, None]], 2)
        flipped = torch.cat([flipped, costs[:, None, :]], 1)
    elif costs is not None:
        lengths = lengths + costs
    parts = torch.split(z, max(1, SCORES // lengths.numel()), 1)
    return torch.cat([torch.baddbmm(lengths[:, None, :], part, flipped).argmin(-1) for part in parts], 1)


class CodebookBank(nn.Module):
    """G codebooks [G, K, d], learned by moving averages: in training mode `update` moves them.

    `decay` (of the averages, per step) and `revive_below` (share of the mean use) may be set at any time.
    """

    codebooks: Tensor
    counts: Tensor
    """Moving average of the number of rows per codeword and step [G, K]; not in shipped models."""
    energy: Tensor
    """Moving average of the squared length of rows [G]; not in shipped models."""
    fresh: Tensor | None = None
    """Codewords set by k-means or `revive` since the trainer last cleared this, [G, K] bool."""
    idle: Tensor | None = None
    """Groups without rows in the last `update`, [G] bool."""

    def __init__(
        self, groups: int, codebook_size: int, dim: int, decay: float = 0.95, revive_below: float = 0.03
    ) -> None:
        super().__init__()
        self.decay = decay
        self.revive_below = revive_below
        self.register_buffer("codebooks", torch.randn(groups, codebook_size, dim))
        self.register_buffer("counts", torch.ones(groups, codebook_size))
        self.register_buffer("energy", torch.full((groups,), float(dim)))

    def lookup(self, index: Tensor) -> Tensor:
        """index [G, N] -> codewords [G, N, d]."""
        return self.codebooks.gather(1, index[..., None].expand(-1, -1, self.codebooks.shape[-1]))

    @torch.no_grad()
    def update(self, rows: Tensor, index: Tensor, counted: Tensor | None = None) -> None:
        """Move the averages by one step towards the rows [G, N, d] of all processes, assigned to index [G, N].

        `counted` [G, N] of 0 and 1 marks the rows that count, default all. A group without rows is unchanged.
        """
        if counted is not None:
            rows = rows * counted[..., None]
        hits, sums = assigned(rows, index, self.codebooks.shape[1], counted)
        squares = rows.square().sum((1, 2))
        _add_up(hits, sums, squares)
        total = hits.sum(1)
        self.idle = total == 0
        busy = (~self.idle).to(hits.dtype)
        self.counts.lerp_(hits, (1 - self.decay) * busy[:, None])
        self.energy.lerp_(squares / total.clamp_min(1), (1 - self.decay) * busy)
        self._learn(hits, sums)

    def _learn(self, hits: Tensor, sums: Tensor) -> None:
        # Mean of all rows ever assigned to a codeword, weighted by age; a codeword without rows is unchanged.
        step = (1 - self.decay) / self.counts.clamp_min(1e-5)
        self.codebooks.add_(step[..., None] * (sums - hits[..., None] * self.codebooks))

    @torch.no_grad()
    def revive(self, rows: Tensor, generator: torch.Generator) -> int:
        """Replace codewords used less than `revive_below` of the mean by random rows [G, N, d]; return their number.

        `rows` are those of the global batch, already gathered.
        """
        mean = self.counts.mean(1, keepdim=True)
        dead = self.counts < self.revive_below * mean
        for g in range(dead.shape[0]):
            slots = dead[g].nonzero()[:, 0]
            if len(slots):
                chosen = torch.randint(rows.shape[1], (len(slots),), generator=generator).to(rows.device)
                self.codebooks[g, slots] = rows[g, chosen]
                self.counts[g, slots] = mean[g]
        self.fresh = dead if self.fresh is None else self.fresh | dead
        self._agree()
        return int(dead.sum())

    @torch.no_grad()
    def blend(self, rows: Tensor, generator: torch.Generator, filled: float = 1.0) -> int:
        """Pull each codeword towards one of the rows [G, N, d], more if it is used less (CVQ-VAE in MGVQ's form).

        A codeword with share p of the assignments moves by the weight exp(-p * K * 10 / 0.01 - 0.001), which is close
        to 0 from a hundredth of the mean use on. Its row is drawn with probability softmax(-distance^2), in units of
        the mean squared length of the codewords. To be called in every step, with a `decay` of 0.99. Returns the
        number of codewords that moved more than half way. `rows` are those of the global batch, already gathered.

        A moving average that starts at zero has 1 - decay^n of its weight after n updates (`filled`). p is smaller by
        this factor, so that all codewords move in the first steps. Groups without rows in this step are unchanged.
        """
        groups, size, _ = self.codebooks.shape
        share = filled * self.counts / self.counts.sum(1, keepdim=True).clamp_min(1e-12)
        weight = torch.exp(-share * size * 10 / 0.01 - 0.001)
        if self.idle is not None:
            weight = weight * ~self.idle[:, None]
        for g in range(groups):
            slots = (weight[g] > 1e-4).nonzero()[:, 0]
            unit = self.codebooks[g].square().sum(-1).mean().clamp_min(1e-12)
            for part in torch.split(slots, max(1, SCORES // rows.shape[1])):
                codes = self.codebooks[g, part]
                reach = torch.softmax(-torch.cdist(codes, rows[g]).square() / unit, -1).cumsum(-1)
                # Drawn on the CPU, where a generator gives the same numbers on every machine.
                level = torch.rand(len(part), 1, generator=generator).to(rows.device) * reach[:, -1:]
                chosen = torch.searchsorted(reach, level)[:, 0].clamp_max(rows.shape[1] - 1)
                self.codebooks[g, part] = codes.lerp(rows[g, chosen], weight[g, part, None])
        self._agree()
        return int((weight > 0.5).sum())

    @torch.no_grad()
    def kmeans(self, rows: Tensor, generator: torch.Generator, iterations: int = 12, directions: bool = False) -> None:
        """Start the codebooks from rows [G, N, d] by Lloyd's algorithm; an empty cluster restarts at a random row.

        `rows` are those of all processes, already gathered. With `directions` a row is assigned to the codeword of
        the most similar direction; the codeword is the mean of its rows, not normalised.
        """
        _, n, _ = rows.shape
        size = self.codebooks.shape[1]
        start = torch.randperm(n, generator=generator)[:size].to(rows.device)
        start = start.repeat(-(-size // len(start)))[:size]
        self.codebooks.copy_(rows[:, start])
        for _ in range(iterations):
            books = F.normalize(self.codebooks, dim=-1) if directions else self.codebooks
            hits, sums = assigned(rows, nearest(rows, books), size)
            chosen = torch.randint(n, (size,), generator=generator).to(rows.device)
            centre = sums / hits.clamp_min(1)[..., None]
            self.codebooks.copy_(torch.where(hits[..., None] > 0, centre, rows[:, chosen]))
        self.restart(hits, rows)

    @torch.no_grad()
    def restart(self, hits: Tensor, rows: Tensor) -> None:
        """Reset the averages for codewords fitted to rows [G, N, d], `hits` [G, K] of them per codeword."""
        self.counts.copy_(hits.clamp_min(1e-3))
        self.counts.mul_(1.0 / self.counts.mean())
        self.energy.copy_(rows.square().sum(2).mean(1))
        self.fresh = torch.ones_like(self.counts, dtype=torch.bool)
        self._agree()

    def _agree(self) -> None:
        """Copy the bank of the first process to all: sums on a GPU have no fixed order and can differ in a digit."""
        if _processes() > 1:
            for tensor in (self.codebooks.data, self.counts, self.energy):
                dist.broadcast(tensor, 0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Older checkpoints also hold codebooks * counts.
        state_dict.pop(f"{prefix}sums", None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class GradientBank(CodebookBank):
    """Codebooks as a parameter, learned through the codebook loss; `update` only counts their use."""

    def __init__(self, groups: int, codebook_size: int, dim: int, **settings: float) -> None:
        super().__init__(groups, codebook_size, dim, **settings)
        start = self.codebooks
        del self.codebooks
        self.codebooks = nn.Parameter(start)

    def _learn(self, hits: Tensor, sums: Tensor) -> None:
        pass


LEARNING: dict[str, type[CodebookBank]] = {"ema": CodebookBank, "gradient": GradientBank}
"""Learning rule of recipes -> bank. The rule is a setting of training and no part of a model's identity."""


def assigned(rows: Tensor, index: Tensor, size: int, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """rows [G, N, d] assigned to index [G, N] -> number of rows [G, K] and their sum [G, K, d] for `size` codewords.

    `counted` [G, N] of 0 and 1 marks the rows that count; the others must be zero already.
    """
    groups, _, dim = rows.shape
    ones = torch.ones_like(index, dtype=rows.dtype) if counted is None else counted.to(rows.dtype)
    hits = rows.new_zeros(groups, size).scatter_add_(1, index, ones)
    sums = rows.new_zeros(groups, size, dim).scatter_add_(1, index[..., None].expand_as(rows), rows)
    return hits, sums


def _add_up(*tensors: Tensor) -> None:
    """Sum each tensor over all processes, in place."""
    if _processes() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
