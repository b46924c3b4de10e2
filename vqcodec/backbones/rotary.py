"""Rotary position embeddings (Su et al. 2021) of lines and of grids."""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10000.0
"""Longest wavelength, in positions, over 2 pi."""


def line_angles(count: int, head_width: int) -> Tensor:
    """Angles [count, head_width / 2] of positions 0, 1, ... of a line."""
    half = head_width // 2
    return torch.arange(count)[:, None] * BASE ** (-torch.arange(half) / half)


def grid_angles(rows: int, columns: int, head_width: int) -> Tensor:
    """Angles [rows * columns, head_width / 2] of a grid, row by row: one half depends on the row, one on the column."""
    y, x = line_angles(rows, head_width // 2), line_angles(columns, head_width // 2)
    grid = [part.expand(rows, columns, -1) for part in (y[:, None], x[None, :])]
    return torch.cat(grid, -1).flatten(0, 1)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate each pair of neighbouring channels of x [B, heads, N, d] by its angle [N, d / 2]."""
    even, odd = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2).to(x.dtype)
