"""Latent perturbation: random tokens become near codewords, so that the decoder tolerates a generator's errors.

RobustTok, in XQ-GAN. In the first share beta of the samples, each token is replaced with probability alpha by one of
its delta nearest codewords, itself included, drawn uniformly. alpha and delta fall linearly between two steps. The
losses of the quantizer are computed with the original tokens; the decoder receives the replaced ones.
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
    """index [N] of rows [N, d] in codebook [K, d] -> index [N], with a share `tokens` replaced.

    `numbers` [N, 2], uniform in 0..1: the first decides on replacement, the second picks one of the `nearest`
    codewords.
    """
    near = torch.cdist(rows, codebook).topk(nearest, largest=False).indices  # [N, nearest]
    place = (numbers[:, 1] * nearest).long().clamp_max(nearest - 1)
    other = near.gather(1, place[:, None])[:, 0]
    return torch.where(numbers[:, 0] < tokens, other, index)
