"""Gradient estimators: the decoder's input in training, and its gradient past the selection of codewords.

Arguments are rows z [..., B, N, d] of B samples, their codewords, and unit Gaussian noise of the same shape. The noise
comes from the caller, which knows the position of this batch in the global one. The codec does not use this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]


def by_sample(rows: Tensor, batch: int) -> Tensor:
    """Rows [..., B*N, d] of B samples, one after the other -> [..., B, N, d]."""
    return rows.reshape(*rows.shape[:-2], batch, -1, rows.shape[-1])


def straight_through(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """Values of the codewords, gradient of z (Bengio et al. 2013; van den Oord et al. 2017); the noise is not used."""
    return z + (code - z).detach()


def noise_substitution(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """z plus noise of the length of the quantization error, in a random direction (Vali and Bäckström 2022, NSVQ).

    The gradient includes the change of the error's length, which straight-through ignores, and reaches codewords
    learned by gradient.
    """
    error = (z - code).square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
    return z + error * noise / noise.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def half_and_half(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """The codewords for samples whose noise is zero, noise substitution for the others; callers zero half of the noise.

    The decoder learns the real errors, which are not noise where a rate term favours some codewords; the encoder
    learns from the other half only.
    """
    return torch.where((noise == 0).all(-1, keepdim=True), code, noise_substitution(z, code, noise))


def balanced(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """Straight-through without the gradient along the quantization error, for codewords selected by distance + rate.

    The rate term selects codewords shorter than z. With plain straight-through every step would lengthen z further,
    without end. The component of each sample's gradient along its quantization error is removed; in that direction
    distance and rate are in balance. The noise is not used.
    """
    made: Tensor = _Balanced.apply(z, code)  # type: ignore[no-untyped-call]
    return made


class _Balanced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, code: Tensor) -> Tensor:
        ctx.save_for_backward(z - code)
        return code.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (error,) = ctx.saved_tensors
        # Masked entries have no gradient, and their error is left out of the projection.
        error = error * (gradient != 0)
        along = (gradient * error).sum((-2, -1), keepdim=True) / error.square().sum((-2, -1), keepdim=True).clamp_min(
            1e-12
        )
        return gradient - along * error, None


def codewords(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """The codewords, without a gradient for the encoder: for runs that train the decoder alone."""
    return code


ESTIMATORS: dict[str, Estimator] = {
    "straight-through": straight_through,
    "noise": noise_substitution,
    "half-and-half": half_and_half,
    "balanced": balanced,
    "codewords": codewords,
}
"""Name in recipes -> estimator."""
