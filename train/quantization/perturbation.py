"""Latent perturbation: some tokens of some pictures become near ones, so that the decoder forgives a generator's slips.

XQ-GAN's RobustTok. The losses of the quantizer are those of the tokens as they were; only the decoder sees the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vqcodec.errors import UsageError


@dataclass(frozen=True)
class PerturbationRecipe:
    """The table `perturbation` of a recipe; with `samples` at 0 it does nothing."""

    samples: float = 0.0
    """Share of the batch, its first samples (beta in RobustTok, 0.1)."""
    tokens: float = 1.0
    """Share of their tokens (alpha)."""
    nearest: int = 100
    """A token becomes one of so many nearest codewords, all alike probable (delta)."""
    anneal: tuple[int, ...] = ()
    """Two steps between which `tokens` and `nearest` go down linearly; empty: they stay."""
    floor: float = 0.5
    """What is left of both in the end."""


def check_perturbation(recipe: PerturbationRecipe, sizes: tuple[int, ...]) -> None:
    """Refuse what cannot be meant, for the codebooks of `sizes`, if there are any. Raises UsageError naming the key."""
    most = min(sizes, default=0)
    for wrong, problem in (
        (recipe.samples > 0 and not sizes, "samples: only for the quantizer product-vq"),
        (not 0 <= recipe.samples <= 1, "samples: a share, 0..1"),
        (not 0 <= recipe.tokens <= 1, "tokens: a share, 0..1"),
        (recipe.samples > 0 and not 1 <= recipe.nearest <= most, f"nearest: 1..{most}, the codewords"),
        (
            bool(recipe.anneal) and (len(recipe.anneal) != 2 or not 0 <= recipe.anneal[0] < recipe.anneal[1]),
            "anneal: two steps, the earlier one first, or an empty list",
        ),
        (not 0 <= recipe.floor <= 1, "floor: a share, 0..1"),
    ):
        if wrong:
            raise UsageError(f"recipe.perturbation.{problem}")


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
