"""Losses of one reconstruction: pixels, LPIPS, the quantizer's commitment and codebook losses, and the rate.

Every value is unweighted and a mean of per-sample values, so that the mean over equal parts of a batch is the value
of the whole batch. Adversarial losses are in adversarial/, alignment losses in alignment/; auxiliary.py computes
vq/entropy, vq/disentanglement and align/*.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from vqcodec.tokenizer import HALF_RANGE, Reconstruction

CHARBONNIER_EPSILON = 1e-3
"""Epsilon on the -1..1 scale: an eighth of an 8-bit level. The paper gives no value."""


def reconstruction_losses(
    result: Reconstruction,
    x: Tensor,
    names: Collection[str],
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    rate_loss: Callable[[Reconstruction], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Unweighted scalar losses in `names`, without gan/*, for the target x [B, 3, H, W] in -1..1.

    `perceptual` (perceptual.py) follows the autocast of the caller; everything else is computed in float32.
    `rate_loss` is `usage_bits` (rate.py) with its tokenizer bound. Raises ValueError for a name whose callable is
    missing.
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
            if rate_loss is None:
                raise ValueError("rate/bits is asked for without `rate_loss`")
            losses["rate/bits"] = rate_loss(result)
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
