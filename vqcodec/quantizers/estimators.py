"""How a gradient passes the choice of a codeword in training; the codec never comes here.

All take rows z [..., d], their codewords [..., d] and unit Gaussian noise [..., d], and give what the decoder sees in
training. The noise comes from the caller: only there is it known which part of the global batch this is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]


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


def codewords(z: Tensor, code: Tensor, noise: Tensor) -> Tensor:
    """The codewords; no gradient for an encoder, for runs that train the decoder alone."""
    return code


ESTIMATORS: dict[str, Estimator] = {
    "straight-through": straight_through,
    "noise": noise_substitution,
    "half-and-half": half_and_half,
    "codewords": codewords,
}
"""By the name recipes use."""
