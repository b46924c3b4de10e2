"""Losses under `group/name` keys: the same in recipes, code and logs."""

from __future__ import annotations

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from vqcodec.tokenizer import Reconstruction


def reconstruction_losses(result: Reconstruction, x: Tensor, names: set[str]) -> dict[str, Tensor]:
    """Unweighted losses for target x [B, 3, H, W] in -1..1; only those in `names` are computed."""
    losses: dict[str, Tensor] = {}
    if "rec/rmse" in names:
        losses["rec/rmse"] = root_mse(result.x, x)
    if "rec/ms-ssim" in names:
        y = (result.x.float().clamp(-1, 1) + 1) / 2
        losses["rec/ms-ssim"] = 1 - ms_ssim(y, (x + 1) / 2, data_range=1.0, win_size=_window(x.shape[-1]))
    if "vq/commitment" in names:
        losses["vq/commitment"] = result.commitment
    return losses


def root_mse(y: Tensor, x: Tensor) -> Tensor:
    """Mean over the samples of the root of their MSE, on the 0..255 scale.

    The root weighs a smooth picture and a busy one more alike than MSE itself does: what is reported is the mean of
    per-picture PSNR, in which both count the same.
    """
    mse = (y.float() - x).square().mean((1, 2, 3)) * 127.5**2
    return (mse + 1).sqrt().mean()


def _window(side: int) -> int:
    """Largest odd SSIM window up to 11 that leaves five scales of a picture `side` pixels wide."""
    return max(3, min(11, ((side - 1) // 16) // 2 * 2 + 1))


@torch.no_grad()
def psnr(y: Tensor, x: Tensor) -> Tensor:
    """Per-sample PSNR in dB [B] of pictures in -1..1, after clamping and rounding to 8 bits."""
    levels = ((y.float().clamp(-1, 1) + 1) * 127.5).round()
    mse = (levels - (x + 1) * 127.5).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / mse.clamp_min(1e-4))
