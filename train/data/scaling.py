"""Scaling between 8-bit pixels and the networks' range -1..1."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled(pixels: Tensor, device: torch.device | str | None = None) -> Tensor:
    """uint8 pixels of any shape -> float32 in -1..1, on `device` if given."""
    return pixels.to(device=device).float() / 127.5 - 1


def levels(x: Tensor) -> Tensor:
    """Pixels about -1..1 of any shape -> 8-bit levels 0..255, clamped and rounded, as float32."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round()
