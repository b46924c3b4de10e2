"""Differentiable augmentation of the discriminator's input: translation, colour, cutout.

Zhao et al. 2020 (DiffAugment), section 3. Every operation is applied to pictures and reconstructions and passes
gradients to the generator. The caller passes the random numbers, as it knows this process's part of the global
batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NUMBERS = 10
"""Random numbers in 0..1 that one sample needs."""


def augment(x: Tensor, numbers: Tensor, probability: float, strength: float = 1.0) -> Tensor:
    """x [B, 3, H, W] in -1..1 and `numbers` [B, NUMBERS], uniform in 0..1 -> x, each operation with `probability`.

    `strength` scales the ranges: shifts of up to an eighth of the side, brightness within 0.5, saturation within 0..2,
    contrast within 0.5..1.5, a hole with sides of a fifth of the picture's.
    """
    numbers = numbers.to(x.device)
    for place, (operation, first, last) in enumerate(OPERATIONS):
        hit = (numbers[:, place] < probability).to(x.dtype)[:, None, None, None]
        x = torch.lerp(x, operation(x, numbers[:, first:last], strength), hit)
    return x


def translate(x: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """x translated by whole pixels, up to an eighth of the side, padded with grey. `numbers` [B, 2]: down, right."""
    _, _, height, width = x.shape
    reach_y, reach_x = round(height / 8 * strength), round(width / 8 * strength)
    down = ((numbers[:, 0] * (2 * reach_y + 1)).long().clamp_max(2 * reach_y)) - reach_y
    right = ((numbers[:, 1] * (2 * reach_x + 1)).long().clamp_max(2 * reach_x)) - reach_x
    padded = F.pad(x, (reach_x, reach_x, reach_y, reach_y))
    rows = torch.arange(height, device=x.device)[None, :] + reach_y - down[:, None]
    columns = torch.arange(width, device=x.device)[None, :] + reach_x - right[:, None]
    samples = torch.arange(len(x), device=x.device)
    moved = padded.permute(0, 2, 3, 1)[samples[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def colour(x: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """x with other brightness, saturation and contrast, one of `numbers` [B, 3] each."""
    shift, saturation, contrast = ((2 * numbers - 1) * strength).to(x.dtype).T[:, :, None, None, None]
    x = x + 0.5 * shift
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1 + saturation).clamp_min(0)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1 + 0.5 * contrast).clamp_min(0)


def cutout(x: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """x with a grey rectangle, a fifth of the picture wide and high, at least partly inside, at `numbers` [B, 2]."""
    inside = []
    for axis, position in ((2, numbers[:, 0]), (3, numbers[:, 1])):
        side = x.shape[axis]
        size = round(0.2 * strength * side)
        first = (position * side).long() - size // 2
        place = torch.arange(side, device=x.device)[None, :]
        inside.append((place >= first[:, None]) & (place < first[:, None] + size))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x * (~hole).to(x.dtype)


OPERATIONS: tuple[tuple[Callable[[Tensor, Tensor, float], Tensor], int, int], ...] = (
    (translate, 3, 5),
    (colour, 5, 8),
    (cutout, 8, 10),
)
"""Operations with the range of their numbers; number i of the first three decides on operation i."""


def view(x: Tensor, numbers: Tensor | None, px: int) -> Tensor:
    """x [B, 3, H, W] -> [B, 3, px, px]: half of the samples are cropped if they are larger, the others scaled.

    `numbers` [B, 3], uniform in 0..1: crop or not, down, right. None: all are scaled, down by area, up bicubic.
    """
    smaller = min(x.shape[-2:]) >= px
    if x.shape[-2:] == (px, px):
        return x
    options: dict[str, Any] = {"mode": "area"}
    if not smaller:
        options = {"mode": "bicubic", "align_corners": False, "antialias": False}
    scaled = F.interpolate(x, (px, px), **options)
    if numbers is None or not smaller:
        return scaled
    parts = []
    for sample, whole, (choice, down, right) in zip(x, scaled, numbers.tolist(), strict=True):
        top, left = int(down * (x.shape[2] - px + 1)), int(right * (x.shape[3] - px + 1))
        parts.append(sample[:, top : top + px, left : left + px] if choice < 0.5 else whole)
    return torch.stack(parts)
