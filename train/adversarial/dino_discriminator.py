"""Discriminator on features of a frozen vision transformer: light heads at several depths.

Sauer et al. 2023 (StyleGAN-T), section 3.2, in the form of XQ-GAN and SoftVQ-VAE: DINO ViT-S/16 at 224 px, five
depths. Only the heads are trained, and checkpoints hold only the heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..alignment.teachers import Teacher
from .augment import view

VIRTUAL_BATCH = 8
"""Samples that are normalized together."""
KERNEL = 9
"""Width of a head's convolution, tokens in scan order; the ends are joined (circular padding)."""


class DinoDiscriminator(nn.Module):
    """Pixels [B, 3, H, W] -> logits [B, 1, depths, tokens], from features of `teacher` at `depths`.

    Depth 0 is the input of the first block, depth i the output of block i. The features are those of each position
    plus those of the picture.
    """

    def __init__(self, teacher: Teacher, norm: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        # A tuple keeps it out of the parameters and the state.
        self.frozen = (teacher,)
        self.depths = depths_of(teacher.blocks)
        self.heads = nn.ModuleList(Head(teacher.width, norm or VirtualBatchNorm) for _ in self.depths)

    @property
    def px(self) -> int:
        """Side of the backbone's input, pixels."""
        return self.frozen[0].px

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1, scaled to px -> logits [B, 1, depths, N]."""
        features = self.frozen[0].depths(view(x, None, self.px), self.depths)
        logits = [head(f.transpose(1, 2)) for head, f in zip(self.heads, features, strict=True)]
        return torch.stack(logits, 2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # torch moves modules through this method alone, and `frozen` is not among the children that it visits.
        self.frozen[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def depths_of(blocks: int) -> tuple[int, ...]:
    """Five evenly spaced depths, the input included: 0, 3, 6, 9 and 12 of twelve blocks."""
    return tuple(dict.fromkeys(round(blocks * i / 4) for i in range(5)))


class Head(nn.Module):
    """Features [B, C, N] -> logits [B, 1, N]."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first = layer(width, 1, norm)
        self.second = layer(width, KERNEL, norm)
        self.last = spectral_norm(nn.Conv1d(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Features x [B, C, N] -> logits [B, 1, N]."""
        x = self.first(x)
        x = (x + self.second(x)) / math.sqrt(2)
        return self.last(x)


def layer(width: int, kernel: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    """A convolution over tokens of spectral norm 1, normalization, LeakyReLU."""
    conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, padding_mode="circular")
    return nn.Sequential(spectral_norm(conv), norm(width), nn.LeakyReLU(0.2))


class VirtualBatchNorm(nn.Module):
    """x [B, C, N] -> x with each channel of mean 0 and variance 1 over at most 8 samples and their tokens.

    The statistics do not depend on the number of samples of a process.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, N] -> the same shape, float32."""
        groups = torch.tensor_split(x.float(), -(-len(x) // VIRTUAL_BATCH))
        normal = []
        for group in groups:
            variance, mean = torch.var_mean(group, (0, 2), correction=0, keepdim=True)
            normal.append((group - mean) * (variance + 1e-6).rsqrt())
        return torch.cat(normal) * self.weight + self.bias


def token_batch_norm(channels: int) -> nn.Module:
    """Batch normalization by the present batch (SoftVQ-VAE's heads); see discriminators.batch_norm."""
    return nn.BatchNorm1d(channels, track_running_stats=False)
