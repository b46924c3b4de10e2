"""A bank of codebooks, learned by moving averages or by gradient, with a k-means start and two kinds of revival.

Van den Oord et al. 2017, appendix A.1 (moving averages); Zheng and Vedaldi 2023 (CVQ-VAE, revival).

In a run of several processes every bank stays the same: `update` adds up what all processes assigned; `kmeans`,
`revive` and `blend` take the rows of the global batch, which the caller has gathered, and a generator in the same
state everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

SCORES = 2**26
"""Distances held at once, so that a large codebook does not cost memory with the size of the picture."""


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
    """Moving average of how often each codeword is chosen in a step, [G, K]; a shipped model does not hold it."""
    energy: Tensor
    """Moving average of the squared length of rows, [G]; a shipped model does not hold it."""
    fresh: Tensor | None = None
    """Which codewords k-means or `revive` put in place since the trainer last cleared it, [G, K]."""
    idle: Tensor | None = None
    """Groups that the last `update` got no rows for, [G] bool."""

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
        """One step towards this process's rows [G, N, d], assigned to index [G, N], and those of all others.

        `counted` [G, N] of 0 and 1 says which rows count, default all. A group without any stays as it is.
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
        # The mean of all rows a codeword ever got, each weighted by its age; one that got none stays.
        step = (1 - self.decay) / self.counts.clamp_min(1e-5)
        self.codebooks.add_(step[..., None] * (sums - hits[..., None] * self.codebooks))

    @torch.no_grad()
    def revive(self, rows: Tensor, generator: torch.Generator) -> int:
        """Replace codewords used less than `revive_below` of the mean by random rows [G, N, d]; return how many.

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
        """Pull each codeword towards one of the rows [G, N, d], the more the less it is used (MGVQ's CVQ-VAE form).

        For a codeword of share p of all choices the weight is exp(-p * K * 10 / 0.01 - 0.001): all but nothing from a
        hundredth of the mean use on. Its row is drawn with probability softmax(-distance^2), in units of the mean
        squared length of the codewords. For every step, with a `decay` of 0.99; return how many moved more than half
        way. `rows` are those of the global batch, already gathered.

        An average that began at zero has seen 1 - decay^n of its weight after n updates: `filled`, by which p is then
        the smaller, so that in the first steps all codewords move. Groups that got no rows in this step stay.
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
                # Drawn on the CPU: a generator there gives the same everywhere.
                level = torch.rand(len(part), 1, generator=generator).to(rows.device) * reach[:, -1:]
                chosen = torch.searchsorted(reach, level)[:, 0].clamp_max(rows.shape[1] - 1)
                self.codebooks[g, part] = codes.lerp(rows[g, chosen], weight[g, part, None])
        self._agree()
        return int((weight > 0.5).sum())

    @torch.no_grad()
    def kmeans(self, rows: Tensor, generator: torch.Generator, iterations: int = 12, directions: bool = False) -> None:
        """Start the codebooks from rows [G, N, d] by Lloyd's algorithm; an empty cluster restarts at a random row.

        `rows` are those of all processes, already gathered. With `directions` a row belongs to the codeword of the
        most similar direction; the codeword is the mean of its rows as they are.
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
        """Averages anew for codewords that were fitted to rows [G, N, d] and chosen by `hits` [G, K] of them."""
        self.counts.copy_(hits.clamp_min(1e-3))
        self.counts.mul_(1.0 / self.counts.mean())
        self.energy.copy_(rows.square().sum(2).mean(1))
        self.fresh = torch.ones_like(self.counts, dtype=torch.bool)
        self._agree()

    def _agree(self) -> None:
        """The bank of the first process for all: a GPU adds up in any order, so theirs may differ in a last digit."""
        if _processes() > 1:
            for tensor in (self.codebooks.data, self.counts, self.energy):
                dist.broadcast(tensor, 0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Older checkpoints also hold codebooks * counts.
        state_dict.pop(f"{prefix}sums", None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class GradientBank(CodebookBank):
    """Codebooks that are a parameter, moved by the codebook loss; `update` only keeps account of their use."""

    def __init__(self, groups: int, codebook_size: int, dim: int, **settings: float) -> None:
        super().__init__(groups, codebook_size, dim, **settings)
        start = self.codebooks
        del self.codebooks
        self.codebooks = nn.Parameter(start)

    def _learn(self, hits: Tensor, sums: Tensor) -> None:
        pass


LEARNING: dict[str, type[CodebookBank]] = {"ema": CodebookBank, "gradient": GradientBank}
"""How codebooks are learned, by the name recipes use: a matter of training, not of what an index means."""


def assigned(rows: Tensor, index: Tensor, size: int, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """rows [G, N, d] of index [G, N] -> for each of `size` codewords how many there are [G, K], their sum [G, K, d].

    `counted` [G, N] of 0 and 1: which rows are numbered; the others must be zero already.
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
