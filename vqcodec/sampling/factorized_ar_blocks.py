"""Blocks of the factorized autoregressive model: causal attention with rotary positions and a gated linear unit.

They follow LlamaGen (Sun et al. 2024), on which FQGAN's FAR is built: RMS norm before attention and gated unit, no
biases, SwiGLU of 8/3 of the width, and 2-D rotary positions (rows in one half of a head, columns in the other).
Legend: B samples, T positions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.rotary import turned


def hidden_width(width: int) -> int:
    """Width of the gated unit: 8/3 of `width`, rounded up to a multiple of 256 (8 if `width` is below 256)."""
    step = 256 if width >= 256 else 8
    return -(-(8 * width // 3) // step) * step


class Cache:
    """Keys and values of earlier positions of a block, for sampling one position at a time."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def added(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v [B, heads, 1, d] of the next position; return those of all positions [B, heads, T, d]."""
        if self.kept is not None:
            k, v = (torch.cat([old, new], 2) for old, new in zip(self.kept, (k, v), strict=True))
        self.kept = k, v
        return self.kept


class Block(nn.Module):
    """Causal attention, then a gated linear unit, each with a norm before it and a residual connection."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, hidden = heads, hidden_width(width)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, angles: Tensor, cache: Cache | None = None) -> Tensor:
        """x [B, T, D] at `angles` [T, d / 2] -> the same shape. With a `cache`, T is 1: the next position."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = turned(q, angles), turned(k, angles)
        if cache is not None:
            k, v = cache.added(k, v)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        x = x + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        gate, value = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.drop(self.down(F.silu(gate) * value))
