"""Schedule of the revival of dead codewords, and the averages of use under `blend` (CVQ-VAE).

Zheng and Vedaldi 2023 (CVQ-VAE), as MGVQ's released code has it: a codeword of little use moves towards a random
latent. Its use N is a moving average, N <- d * N + (1 - d) * n with d = BLEND_DECAY and n the rows it received.
An average that begins at zero has the total weight 1 - d^t, instead of 1, after t updates.
"""

from __future__ import annotations

from ..recipe.schema import Recipe

BLEND_DECAY = 0.99
"""Decay d of the averages of use, per update."""


def revival_due(recipe: Recipe, step: int) -> bool:
    """True if dead codewords are revived after `step`: from the codebooks' start until the learning rate decays."""
    optimizer, settings = recipe.optimizer, recipe.codebook
    if settings.revival == "none" or not settings.kmeans_at <= step < optimizer.steps - optimizer.decay:
        return False
    return settings.revival == "blend" or step % settings.revive_every == 0


def usage_from_zero(recipe: Recipe) -> bool:
    """True if the averages of use begin at zero, as in MGVQ's release: the first latents replace all codewords.

    False after k-means and for runs that start from codebooks.
    """
    return recipe.codebook.revival == "blend" and not recipe.codebook.kmeans_at and not recipe.start_from


def usage_filled(recipe: Recipe, step: int, updates: int = 1) -> float:
    """Total weight 1 - d^t, 0..1, of the rows in the averages of use after `step`; 1.0 unless they began at zero.

    A moving average that begins at zero underestimates the use by this factor. `updates` is the number of updates of
    a codebook per accumulated batch: more than 1 for a codebook that several stages share. See CodebookBank.blend.
    """
    if not usage_from_zero(recipe):
        return 1.0
    return 1 - BLEND_DECAY ** ((step + 1) * recipe.optimizer.accumulate * updates)
