"""Latent refinement of scalar models: steps of the selection's target towards the least error of the decoder.

See `targets`: the decoder's gradient at the selected values moves the target of each layer (Campos et al. 2019).
"""

from __future__ import annotations

import numpy as np

from ..registry import Model
from ..targets import descend, steps
from .scalar_encoder import indices_of


def refine(
    model: Model, pixels: np.ndarray, target: np.ndarray, values: np.ndarray, step: int, done: int, passes: int
) -> np.ndarray:
    """Target [D, h, w] of the next selection; `values` int32 [D, h, w] were selected for `target`, `done` of `passes`
    passes ago the encoder's latent."""
    planes = indices_of(values, range(len(values)))
    return descend(model, pixels, target, planes, steps(passes)[done], step)[0]
