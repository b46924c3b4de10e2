"""Gain of a decoder: squared error of the pixels per squared error of the latent, measured with noise.

For a part p of the latent's channels and Gaussian noise e on these channels alone,

    gain_p = |D(z + e) - D(z)|^2 / |e|^2

summed over samples, channels and positions. It converts a distortion of the pixels to one of the latent: to spend
`rate` squared error of the pixels on a bit, a group of codewords spends rate / gain of its latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LEAST_ERROR = 1e-12
"""Smallest squared error |e|^2 that is divided by; channels of no spread get no noise."""


@torch.no_grad()
def decoder_gain(
    decoder: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    kept: Tensor,
    parts: Sequence[Tensor],
    deviation: float | Tensor,
    seed: int = 0,
) -> Tensor:
    """Gains of channel sets `parts` [P], for latents z [B, D, h, w] and keep maps `kept` [B, G, h, w].

    `deviation` of the noise: one number, or one for each part [P], in units of the latent.
    """
    generator = torch.Generator().manual_seed(seed)
    deviations = torch.as_tensor(deviation, device=z.device).expand(len(parts))
    base = decoder(z, kept)
    gains = []
    for part, width in zip(parts, deviations, strict=True):
        error = torch.zeros_like(z)
        noise = torch.randn((len(z), len(part), *z.shape[2:]), generator=generator)
        error[:, part] = width * noise.to(z.device)
        changed = (decoder(z + error, kept) - base).square().sum()
        gains.append(changed / error.square().sum().clamp_min(LEAST_ERROR))
    return torch.stack(gains)
