"""Nested masking: the number of groups that a sample, or a block of its token grid, keeps (MGVQ, section 3).

Keeping k of G groups masks groups k + 1 .. G; the decoder receives the fill in their place. Training with random k
orders the groups from coarse to fine, so that files can leave the last ones out. A sample keeps

    all G groups          with probability `full`
    k per block           with probability `block`: k = centre + a uniform spread, clamped to 1..G; 0 in a share EMPTY
    one k                 otherwise

k and the centre are drawn with the weights `prefixes` of 1..G, or uniformly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..recipe.schema import MaskingRecipe

BLOCK_SIZES = (1, 2, 4)
"""Sides of the blocks of the token grid, tokens; one is drawn per sample."""
EMPTY = 0.05
"""Share of blocks that keep no group, so that the decoder learns to fill gaps."""


def draw_kept(
    recipe: MaskingRecipe, batch: int, groups: int, size: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Keep map [B, G, h, w] of 0 and 1; at every position the kept groups are a prefix.

    `size` is (h, w), or (L,) for a sequence, which counts as one row. Several processes draw the map of the global
    batch and take their parts.
    """
    h, w = size if len(size) == 2 else (1, size[0])
    keep = _keeps(recipe, 1 if recipe.per == "batch" else batch, groups, h, w, generator)
    return prefix_map(keep.expand(batch, h, w), groups).reshape(batch, groups, *size)


def prefix_map(keep: Tensor, groups: int) -> Tensor:
    """keep [B, h, w] of 0..G -> float map [B, G, h, w]."""
    return (torch.arange(groups, device=keep.device)[None, :, None, None] < keep[:, None]).float()


def _keeps(recipe: MaskingRecipe, count: int, groups: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """[count, h, w] of 0..G."""
    kinds = torch.rand(count, generator=generator)
    keep = torch.where(kinds < recipe.full, groups, _prefixes(recipe.prefixes, count, groups, generator))
    maps = keep[:, None, None].repeat(1, h, w)
    for i in ((kinds >= recipe.full) & (kinds < recipe.full + recipe.block)).nonzero()[:, 0].tolist():
        maps[i] = _blocks(recipe, groups, h, w, generator)
    return maps


def _prefixes(weights: Sequence[float], count: int, groups: int, generator: torch.Generator) -> Tensor:
    """[count] of 1..G, with probabilities in proportion to `weights`; uniform where there are none."""
    if not weights:
        return torch.randint(1, groups + 1, (count,), generator=generator)
    return 1 + torch.multinomial(torch.tensor(weights), count, replacement=True, generator=generator)


def _blocks(recipe: MaskingRecipe, groups: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    side = BLOCK_SIZES[int(torch.randint(len(BLOCK_SIZES), (), generator=generator))]
    rows, columns = -(-h // side), -(-w // side)
    # Neighbouring blocks of a file differ little, so they share a centre.
    centre = int(_prefixes(recipe.prefixes, 1, groups, generator))
    spread = int(torch.randint(1, groups + 1, (), generator=generator))
    keep = centre + torch.randint(-spread, spread + 1, (rows, columns), generator=generator)
    keep = keep.clamp(1, groups)
    keep[torch.rand((rows, columns), generator=generator) < EMPTY] = 0
    return keep.repeat_interleave(side, 0).repeat_interleave(side, 1)[:h, :w]
