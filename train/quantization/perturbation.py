"""Latent perturbation: some tokens of some pictures become near ones, so that the decoder forgives a generator's slips.

XQ-GAN's RobustTok. The losses of the quantizer are those of the tokens as they were; only the decoder sees the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..recipe.schema import PerturbationRecipe


def annealed(recipe: PerturbationRecipe, step: int) -> tuple[float, int]:
    """(share of the tokens, nearest codewords) at `step`."""
    if not recipe.anneal:
        return recipe.tokens, recipe.nearest
    first, last = recipe.anneal
    done = min(1.0, max(0.0, (step - first) / (last - first)))
    left = 1 - (1 - recipe.floor) * done
    return recipe.tokens * left, max(1, int(recipe.nearest * left))


def perturbed(index: Tensor, rows: Tensor, codebook: Tensor, numbers: Tensor, tokens: float, nearest: int) -> Tensor:
    """index [N] of rows [N, d] in codebook [K, d] -> index [N], a share `tokens` of it replaced.

    `numbers` [N, 2], uniform in 0..1: whether a token is replaced, and by which of its `nearest` codewords, of which it
    is itself one.
    """
    near = torch.cdist(rows, codebook).topk(nearest, largest=False).indices  # [N, nearest]
    place = (numbers[:, 1] * nearest).long().clamp_max(nearest - 1)
    other = near.gather(1, place[:, None])[:, 0]
    return torch.where(numbers[:, 0] < tokens, other, index)
