"""Nested masking: which groups each sample, or each block of its token grid, keeps (MGVQ, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from .recipe import MaskingRecipe


def draw_kept(recipe: MaskingRecipe, batch: int, groups: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Keep map [B, G, h, w] of 0 and 1; at every position the kept groups are a prefix."""
    keep = torch.empty(batch, h, w, dtype=torch.int64)
    for b in range(batch):
        kind = torch.rand((), generator=generator).item()
        if kind < recipe.full:
            keep[b] = groups
        elif kind < recipe.full + recipe.block:
            keep[b] = _blocks(recipe, groups, h, w, generator)
        else:
            keep[b] = torch.randint(1, groups + 1, (), generator=generator)
    return prefix_map(keep, groups)


def prefix_map(keep: Tensor, groups: int) -> Tensor:
    """keep [B, h, w] of 0..G -> float map [B, G, h, w]."""
    return (torch.arange(groups, device=keep.device)[None, :, None, None] < keep[:, None]).float()


def _blocks(recipe: MaskingRecipe, groups: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    sizes = recipe.block_sizes
    side = sizes[int(torch.randint(len(sizes), (), generator=generator))]
    rows, columns = -(-h // side), -(-w // side)
    # Neighbouring blocks of a real file differ by little: a centre for the sample, a spread round it.
    centre = torch.randint(1, groups + 1, (), generator=generator)
    spread = int(torch.randint(1, groups + 1, (), generator=generator))
    keep = centre + torch.randint(-spread, spread + 1, (rows, columns), generator=generator)
    keep = keep.clamp(1, groups)
    keep[torch.rand((rows, columns), generator=generator) < recipe.empty] = 0
    return keep.repeat_interleave(side, 0).repeat_interleave(side, 1)[:h, :w]
