"""Latent of a picture, and the weight of a bit in its units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..inference.networks import pixels_to_latent
from ..models.loading import Model


@dataclass(frozen=True)
class Latent:
    """Target of index selection: the encoder's latent, as it is or refined."""

    values: np.ndarray
    """float [D, h, w]."""
    distance_per_bit: np.ndarray
    """float64 [G]: squared distance in each group that balances one bit at lmbda 1. The model's, until latent
    refinement has measured it on the picture."""
    error_per_bit: float
    """Distortion of the decoded picture (see distortion.py) that balances one bit at lmbda 1; 0 where not measured."""

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.values.shape[1], self.values.shape[2]


def encode_latent(model: Model, pixels: np.ndarray) -> Latent:
    """Pixels uint8 [H, W, 3] -> the encoder network's latent."""
    return Latent(pixels_to_latent(model, pixels), model.product.lambda_weights[: model.product.groups], 0.0)
