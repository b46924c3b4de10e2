"""Losses under `group/name` keys: the same in recipes, code and logs.

Every value is unweighted and a mean of per-sample values, so that the mean over equal parts of a batch is the value
of the whole batch. Adversarial losses are in adversarial/, alignment losses in alignment/, the others in auxiliary.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from vqcodec.tokenizer import HALF_RANGE, Reconstruction, to_levels

LOSSES = (
    "rec/rmse",
    "rec/l2",
    "rec/charbonnier",
    "rec/ms-ssim",
    "rec/lpips",
    "gan/generator",
    "vq/commitment",
    "vq/codebook",
    "vq/entropy",
    "vq/disentanglement",
    "align/semantic",
    "align/middle",
    "align/detail",
    "rate/bits",
)
"""Every loss of the tokenizer by its `group/name`: the key in recipes, code and logs."""

CHARBONNIER_EPSILON = 1e-3
"""Epsilon on the -1..1 scale: an eighth of an 8-bit level. The paper gives no value."""


def active(weights: Mapping[str, float]) -> set[str]:
    """Names of the losses with a weight other than 0; a weight of 0 removes a base recipe's loss."""
    return {name for name, weight in weights.items() if weight != 0}


def weights_at(weights: Mapping[str, float], warmup: Mapping[str, float], step: int) -> dict[str, float]:
    """Weights at `step`: those named in `warmup` rise linearly from 0 over that number of steps."""
    return {
        name: weight * min(1.0, step / warmup[name]) if warmup.get(name) else weight for name, weight in weights.items()
    }


def reconstruction_losses(
    result: Reconstruction,
    x: Tensor,
    names: Collection[str],
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    rate: Callable[[Reconstruction], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Unweighted scalar losses in `names`, without gan/*, for the target x [B, 3, H, W] in -1..1.

    `perceptual` (perceptual.py) follows the autocast of the caller; everything else is computed in float32. `rate` is
    `usage_bits` (rate.py) with its tokenizer bound. Raises ValueError for a name whose callable is missing.
    """
    losses: dict[str, Tensor] = {}
    if "rec/lpips" in names:
        if perceptual is None:
            raise ValueError("rec/lpips is asked for without `perceptual`")
        losses["rec/lpips"] = perceptual(result.x, x).mean()
    with torch.autocast(x.device.type, enabled=False):
        y = result.x.float()
        for name, measure in PIXEL_LOSSES.items():
            if name in names:
                losses[name] = measure(y, x)
        if "vq/commitment" in names:
            losses["vq/commitment"] = result.commitment
        if "vq/codebook" in names:
            losses["vq/codebook"] = result.codebook
        if "rate/bits" in names:
            if rate is None:
                raise ValueError("rate/bits is asked for without `rate`")
            losses["rate/bits"] = rate(result)
    return losses


def root_mse(y: Tensor, x: Tensor) -> Tensor:
    """Mean over the samples of the root of their MSE, on the 0..255 scale.

    The reported PSNR is a mean over pictures: smooth and textured pictures count the same. The root weighs their errors
    more evenly than MSE does. Formula: sqrt(127.5^2 * mean((y - x)^2) + 1).
    """
    mse = (y.float() - x).square().mean((1, 2, 3)) * HALF_RANGE**2
    return (mse + 1).sqrt().mean()


def l2(y: Tensor, x: Tensor) -> Tensor:
    """MSE of pixels [B, 3, H, W] on the -1..1 scale."""
    return (y - x).square().mean()


def charbonnier(y: Tensor, x: Tensor) -> Tensor:
    """Mean of sqrt((y - x)^2 + epsilon^2): L1 that is smooth at 0 (MGVQ, section 3, training loss)."""
    return ((y - x).square() + CHARBONNIER_EPSILON**2).sqrt().mean()


def ms_ssim_loss(y: Tensor, x: Tensor) -> Tensor:
    """1 - MS-SSIM of pixels [B, 3, H, W] in -1..1, sides above 32 px; values outside the range are clamped."""
    y, x = ((pixels.clamp(-1, 1) + 1) / 2 for pixels in (y, x))
    if y.is_cuda:  # single-channel convolutions are many times slower on channels-last tensors
        y, x = y.contiguous(), x.contiguous()
    return 1 - ms_ssim(y, x, data_range=1.0, win_size=_window(min(x.shape[-2:])))


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rec/rmse": root_mse,
    "rec/l2": l2,
    "rec/charbonnier": charbonnier,
    "rec/ms-ssim": ms_ssim_loss,
}
"""(reconstruction, target), both [B, 3, H, W] on the -1..1 scale -> scalar."""


def _window(side: int) -> int:
    """Largest odd SSIM window up to 11 that leaves five scales of a picture `side` pixels wide."""
    return max(3, min(11, ((side - 1) // 16) // 2 * 2 + 1))


@torch.no_grad()
def psnr(y: Tensor, x: Tensor) -> Tensor:
    """Per-sample PSNR in dB [B] of pictures in -1..1, after clamping and rounding to 8 bits."""
    mse = (to_levels(y) - (x + 1) * HALF_RANGE).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / mse.clamp_min(1e-4))
