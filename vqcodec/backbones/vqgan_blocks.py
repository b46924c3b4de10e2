"""Blocks of the VQGAN backbone: residual blocks, attention over a picture, resampling and FQGAN's factor adapter.

VQGAN (Esser et al. 2021) as in LlamaGen (Sun et al. 2024); factor adapter: FQGAN (Bai et al. 2024, section 3.2).
Inputs and outputs are [B, C, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.backbones import NORM_GROUPS


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation over the whole picture, with learned scale and shift."""
    return nn.GroupNorm(NORM_GROUPS, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))); a 1 x 1 convolution on the shortcut if the width changes."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.norm2 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, H, W] -> [B, width, H, W]."""
        y = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    """Residual self-attention with one head over all positions of the picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape."""
        y = self.norm(x)
        q, k, v = (part(y).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        found = F.scaled_dot_product_attention(q, k, v)
        return x + self.project(found.transpose(1, 2).reshape(x.shape))


class Down(nn.Module):
    """Downsampling by 2: a convolution of stride 2, zero padding on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, H / 2, W / 2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Upsampling by 2: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, 2 * H, 2 * W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class AdapterLayer(nn.Module):
    """Transformer layer on [B, N, C]: attention, then a perceptron, each with a norm before it and a shortcut."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, C] -> the same shape."""
        x = x + self.project(self_attention(self.qkv(self.norm1(x)), self.heads))
        return x + self.narrow(F.gelu(self.expand(self.norm2(x))))


def self_attention(qkv: Tensor, heads: int) -> Tensor:
    """Queries, keys and values [B, N, 3 * C], concatenated in this order, heads in turn -> [B, N, C]."""
    batch, n, wide = qkv.shape
    q, k, v = qkv.reshape(batch, n, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, n, wide // 3)


class Adapter(nn.Module):
    """Transformer over the h * w positions of a grid; learned position embeddings fix the size of the grid."""

    def __init__(self, channels: int, positions: int, depth: int, heads: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(positions, channels) * channels**-0.5)
        self.norm_in = nn.LayerNorm(channels)
        self.layers = nn.Sequential(*(AdapterLayer(channels, heads) for _ in range(depth)))
        self.norm_out = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, h, w], h * w = `positions` -> the same shape."""
        rows = x.flatten(2).transpose(1, 2) + self.positions
        rows = self.norm_out(self.layers(self.norm_in(rows)))
        return rows.transpose(1, 2).reshape(x.shape)
