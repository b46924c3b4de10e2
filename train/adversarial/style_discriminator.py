"""Discriminator of StyleGAN2: residual blocks that halve the picture down to 4x4 positions, then one logit.

Karras et al. 2020 (StyleGAN2), section 4 and appendix B. Every downsampling is preceded by a low-pass filter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 4
"""Side of the grid that the blocks end at, pixels."""
GROUP = 4
"""Largest group of samples whose standard deviation is measured."""


class StyleGAN(nn.Module):
    """Pixels [B, 3, H, W] -> logits [B, 1, 1, 1], for `px` x `px` pictures; others are scaled to that.

    `channels` at full resolution, doubled at every halving, at most eight times that.
    """

    def __init__(self, channels: int, px: int) -> None:
        super().__init__()
        self.px = nearest_power(px)
        steps = int(math.log2(self.px // SMALLEST))
        widths = [channels * min(2**i, 8) for i in range(steps + 1)]
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 1), nn.LeakyReLU(0.2))
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        self.spread = nn.Sequential(nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1), nn.LeakyReLU(0.2))
        self.head = nn.Sequential(
            nn.Linear(widths[-1] * SMALLEST**2, widths[-1]), nn.LeakyReLU(0.2), nn.Linear(widths[-1], 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1 -> logits [B, 1, 1, 1], above 0 for real pictures."""
        if x.shape[-2:] != (self.px, self.px):
            x = F.interpolate(x, (self.px, self.px), mode="bilinear", align_corners=False, antialias=True)
        features = self.blocks(self.stem(x))
        features = self.spread(torch.cat([features, spread_of_groups(features)], 1))
        return self.head(features.flatten(1))[:, :, None, None]


class DownBlock(nn.Module):
    """x [B, C, h, w] -> [B, C', h/2, w/2]: low-pass filtered; (two 3x3 convolutions + a 1x1 one) / sqrt 2."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.LeakyReLU(0.2),
            Blur(),
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.blur = Blur()
        self.skip = nn.Conv2d(narrow, wide, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, h, w] -> [B, C', h / 2, w / 2]."""
        # Not a 1x1 convolution of stride 2: with few channels, channels last, its gradient writes past its memory on
        # CPUs (torch 2.13).
        skip = self.skip(self.blur(x)[:, :, ::2, ::2])
        return (self.net(x) + skip) / math.sqrt(2)


class Blur(nn.Module):
    """x [B, C, h, w], filtered by (1, 2, 1) / 4 both ways, the edge repeated (Zhang 2019)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (taps[:, None] * taps)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, h, w] -> the same shape."""
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, self.kernel.to(x.dtype).expand(x.shape[1], 1, 3, 3), groups=x.shape[1])


def spread_of_groups(x: Tensor) -> Tensor:
    """x [B, C, h, w] -> [B, 1, h, w]: mean standard deviation over groups of samples, the same for all of a group.

    It exposes a generator of little variety. The group size is the largest divisor of the batch up to GROUP.
    """
    batch, _, h, w = x.shape
    size = max(n for n in range(1, GROUP + 1) if batch % n == 0)
    grouped = x.float().reshape(batch // size, size, -1)
    spread = (grouped.var(1, unbiased=False) + 1e-8).sqrt().mean(1)
    return spread.repeat_interleave(size)[:, None, None, None].expand(-1, 1, h, w).to(x.dtype)


def nearest_power(px: int) -> int:
    """The power of two nearest to `px` (the smaller one of two equally near), at least 8."""
    below = 2 ** max(3, int(math.log2(max(px, 1))))
    return below if px - below <= 2 * below - px else 2 * below
