"""9/7 wavelet of JPEG 2000 (Cohen, Daubechies and Feauveau 1992), in place.

It turns smooth areas into few large coefficients and many that round to 0, and its smooth basis functions leave no
steps between blocks. It is nearly orthonormal: errors keep their size.

Coefficients stay in place (lifting: Daubechies and Sweldens 1998): positions at multiples of 2**level hold the bands
coarser than `level`, so the pyramid order codes the coarsest first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config.quantizers import LOW_LEVELS
from .lifting_steps import SCALE, STEPS


def lift(z: Tensor, levels: int = LOW_LEVELS) -> Tensor:
    """z [B, C, h, w] -> coefficients of the same shape; levels stop where the grid is too small."""
    for level in range(levels):
        step = 1 << level
        part = _along(_along(z[:, :, ::step, ::step], False).transpose(2, 3), False).transpose(2, 3)
        z = _placed(z, part, step)
    return z


def unlift(z: Tensor, levels: int = LOW_LEVELS) -> Tensor:
    """Inverse of `lift`, up to rounding."""
    for level in reversed(range(levels)):
        step = 1 << level
        part = _along(_along(z[:, :, ::step, ::step].transpose(2, 3), True).transpose(2, 3), True)
        z = _placed(z, part, step)
    return z


def _placed(z: Tensor, part: Tensor, step: int) -> Tensor:
    """z with every `step`-th position replaced."""
    if step == 1:
        return part
    found = z.clone()
    found[:, :, ::step, ::step] = part
    return found


def _along(x: Tensor, inverse: bool) -> Tensor:
    """One level along the last axis: even positions become the low, odd ones the high band."""
    if x.shape[-1] < 2:
        return x
    even, odd = x[..., 0::2], x[..., 1::2]
    if inverse:
        even, odd = even / SCALE, odd * SCALE
        even = even - STEPS[3] * _around_even(odd, even.shape[-1])
        odd = odd - STEPS[2] * _around_odd(even, odd.shape[-1])
        even = even - STEPS[1] * _around_even(odd, even.shape[-1])
        odd = odd - STEPS[0] * _around_odd(even, odd.shape[-1])
    else:
        odd = odd + STEPS[0] * _around_odd(even, odd.shape[-1])
        even = even + STEPS[1] * _around_even(odd, even.shape[-1])
        odd = odd + STEPS[2] * _around_odd(even, odd.shape[-1])
        even = even + STEPS[3] * _around_even(odd, even.shape[-1])
        even, odd = even * SCALE, odd / SCALE
    found = torch.empty_like(x)
    found[..., 0::2], found[..., 1::2] = even, odd
    return found


def _around_odd(even: Tensor, n: int) -> Tensor:
    """Sum of the even neighbours of the `n` odd positions; beyond the border mirrored."""
    return even[..., :n] + torch.cat([even[..., 1:], even[..., -1:]], -1)[..., :n]


def _around_even(odd: Tensor, n: int) -> Tensor:
    """Sum of the odd neighbours of the `n` even positions; beyond the border mirrored."""
    return torch.cat([odd[..., :1], odd], -1)[..., :n] + torch.cat([odd, odd[..., -1:]], -1)[..., :n]
