"""Convolutional discriminators: pixels [B, 3, H, W] in -1..1 to logits [B, 1, h, w], above 0 for real pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn


class PatchGAN(nn.Module):
    """One logit for each overlapping patch (Isola et al. 2017, section 3.2.2 and appendix 6.1.2).

    `layers` 4x4 convolutions of stride 2, then two of stride 1, with `channels` at first and up to eight times that.
    The receptive field of a logit is 34, 70 and 142 px for 2, 3 and 4 layers. The first and the last convolution
    are not normalized.
    """

    def __init__(self, channels: int = 64, layers: int = 3, norm: Callable[[int], nn.Module] = nn.Identity) -> None:
        super().__init__()
        widths = [channels * min(2**i, 8) for i in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (narrow, wide) in enumerate(zip(widths, widths[1:], strict=False)):
            stride = 2 if i < layers - 1 else 1
            # A normalization removes the bias.
            conv = nn.Conv2d(narrow, wide, 4, stride=stride, padding=1, bias=norm is nn.Identity)
            parts += [conv, norm(wide), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 3, H, W] -> logits [B, 1, h, w], h = H // 2**layers - 2."""
        return self.net(x)

    @staticmethod
    def least_px(layers: int) -> int:
        """Side of the smallest picture that yields a logit, pixels."""
        return 3 * 2**layers


def batch_norm(channels: int) -> nn.Module:
    """Batch normalization by the statistics of the present batch.

    Running statistics are left out: a discriminator is never evaluated, and the generator's pass would change them.
    With several processes each one normalizes by its own samples; with few samples per process `patch-plain` is
    safer.
    """
    return nn.BatchNorm2d(channels, track_running_stats=False)


@torch.no_grad()
def _start(module: nn.Module) -> None:
    """Gaussian weights, as in Isola et al. 2017, appendix 6.2."""
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


DISCRIMINATORS: dict[str, Callable[[int, int], nn.Module]] = {
    "patch": partial(PatchGAN, norm=batch_norm),
    "patch-plain": partial(PatchGAN, norm=nn.Identity),
}
"""(channels, layers) -> network, by the name recipes use."""
