"""How a gradient passes the choice of a codeword in training; the codec never comes here.

All take rows z [..., B, N, d] of B samples, their codewords and unit Gaussian noise of the same shape, and give what
the decoder sees in training. The noise comes from the caller: only there is it known which part of the global batch
this is.
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
    """z plus noise as long as the quantization error, in a random direction (Vali and Bäckström 2022, NSVQ).

    The gradient also says how the error would shrink, which straight-through hides. A codeword learned by gradient
    gets one too.
    """
    error = (z - code).square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
    return z + error * noise / noise.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def half_and_half(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """The codewords themselves where the caller gives no noise, as for half of the samples; noise for the others.

    The decoder learns what real errors look like, which are no noise where a rate favours some codewords; the encoder
    learns from the other half alone.
    """
    return torch.where((noise == 0).all(-1, keepdim=True), code, noise_substitution(z, code, noise))


def balanced(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """Straight through, but for what points from the codewords to z: for codewords that are chosen by distance + rate.

    Such codewords fall short of z where bits are not worth it. Straight through, each step would push z further out,
    for ever. So the part of a sample's gradient that is along its quantization error is taken out; it is what the rate
    holds in balance. The noise is not used.
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
        # What is masked has no gradient, and its error no part in the balance.
        error = error * (gradient != 0)
        along = (gradient * error).sum((-2, -1), keepdim=True) / error.square().sum((-2, -1), keepdim=True).clamp_min(
            1e-12
        )
        return gradient - along * error, None


def codewords(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """The codewords; no gradient for an encoder, for runs that train the decoder alone."""
    return code


ESTIMATORS: dict[str, Estimator] = {
    "straight-through": straight_through,
    "noise": noise_substitution,
    "half-and-half": half_and_half,
    "balanced": balanced,
    "codewords": codewords,
}
"""By the name recipes use."""
