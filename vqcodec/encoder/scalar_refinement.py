"""Latent refinement of scalar models: steps of the selection's target towards the least error of the decoder.

See `targets`: the decoder's gradient at the selected values moves the target of each layer (Campos et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..models.loading import Model
from .latent_refinement import descend, steps


def refine(
    model: Model,
    pixels: np.ndarray,
    target: np.ndarray,
    planes: Sequence[np.ndarray],
    step: int,
    done: int,
    passes: int,
    alpha: np.ndarray | None = None,
) -> np.ndarray:
    """Target [D, h, w] of the next selection; `planes` were selected for `target`, which is the encoder's latent
    after `done` of `passes` passes. Errors count by `alpha` uint8 [H, W]."""
    return descend(model, pixels, target, planes, steps(passes)[done], step, alpha)[0]
