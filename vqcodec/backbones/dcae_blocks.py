"""Blocks of the DC-AE backbone, and its changes of resolution.

DC-AE (Chen et al. 2024): shortcuts without weights; EfficientViT (Cai et al. 2022): linear attention and gated
convolutions. Inputs and outputs are [B, C, H, W].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 32
"""Channels of an attention head."""
SMALL = 32
"""Number of positions up to which attention is computed over all pairs, which is cheaper there."""


class RMSNorm(nn.Module):
    """RMS normalisation over the channels of each pixel, in float32, with weight and bias per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape and dtype."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-5)
        return (wide * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


NORMS: dict[str, Callable[[int], nn.Module]] = {"rms": RMSNorm, "batch": nn.BatchNorm2d}
ACTS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "relu": F.relu}


class ResidualBlock(nn.Module):
    """x + norm(conv(act(conv(x))))."""

    def __init__(self, channels: int, norm: str, act: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = NORMS[norm](channels)
        self.act = ACTS[act]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape."""
        return x + self.norm(self.conv2(self.act(self.conv1(x))))


class LinearAttention(nn.Module):
    """Attention over all positions with ReLU instead of softmax: the cost is linear in the number of positions.

    Channels of the first convolution: [q | k | v] of the first head, then of the second, ...
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = NORMS[norm](channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape."""
        batch, _, h, w = x.shape
        q, k, v = self.qkv(x).reshape(batch, -1, 3, HEAD, h * w).unbind(2)
        # Sums over a whole picture exceed the range of float16 and the precision of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            out = attend(q.float().relu(), k.float().relu(), v.float())
        return self.norm(self.project(out.to(x.dtype).reshape(batch, -1, h, w)))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q, k >= 0 and v [B, heads, d, N] -> mean of v weighted by q . k, for each position."""
    if q.shape[-1] <= SMALL:
        weights = k.transpose(-1, -2) @ q
        return v @ (weights / (weights.sum(-2, keepdim=True) + 1e-15))
    total = k.sum(-1)[:, :, None] @ q
    return (v @ k.transpose(-1, -2)) @ q / (total + 1e-15)


class GatedConv(nn.Module):
    """Gated convolution: 8 times the channels, depthwise 3 x 3, one half gated by the other, projection back."""

    def __init__(self, channels: int, norm: str, act: str) -> None:
        super().__init__()
        wide = 8 * channels
        self.expand = nn.Conv2d(channels, wide, 1)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.project = nn.Conv2d(wide // 2, channels, 1, bias=False)
        self.norm = NORMS[norm](channels)
        self.act = ACTS[act]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape."""
        value, gate = self.depthwise(self.act(self.expand(x))).chunk(2, 1)
        return self.norm(self.project(value * self.act(gate)))


class AttentionBlock(nn.Module):
    """Linear attention over the whole picture, then a gated convolution, each with a shortcut."""

    def __init__(self, channels: int, norm: str, act: str) -> None:
        super().__init__()
        self.attention = LinearAttention(channels, norm)
        self.gated = GatedConv(channels, norm, act)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> the same shape."""
        x = x + self.attention(x)
        return x + self.gated(x)


BLOCKS: dict[str, Callable[[int, str, str], nn.Module]] = {"residual": ResidualBlock, "attention": AttentionBlock}


class Down(nn.Module):
    """Halve the resolution; the shortcut averages runs of the unshuffled channels."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fine, coarse // 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, fine, H, W] -> [B, coarse, H / 2, W / 2]."""
        y = F.pixel_unshuffle(self.conv(x), 2)
        return y + mean_of_runs(F.pixel_unshuffle(x, 2), y.shape[1])


class Up(nn.Module):
    """Double the resolution; the shortcut repeats channels before the pixel shuffle."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(coarse, 4 * fine, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, coarse, H, W] -> [B, fine, 2 * H, 2 * W]."""
        y = self.conv(x)
        return F.pixel_shuffle(y + repeated(x, y.shape[1]), 2)


class Narrow(nn.Module):
    """Reduce channels; the shortcut averages runs of channels."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, narrow, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, wide, H, W] -> [B, narrow, H, W]."""
        y = self.conv(x)
        return y + mean_of_runs(x, y.shape[1])


class Widen(nn.Module):
    """Increase channels; the shortcut repeats channels."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, narrow, H, W] -> [B, wide, H, W]."""
        y = self.conv(x)
        return y + repeated(x, y.shape[1])


def mean_of_runs(x: Tensor, channels: int) -> Tensor:
    """[B, n * channels, H, W] -> [B, channels, H, W]: channel c is the mean of n * c .. n * c + n - 1."""
    batch, _, h, w = x.shape
    return x.reshape(batch, channels, -1, h, w).mean(2)


def repeated(x: Tensor, channels: int) -> Tensor:
    """[B, channels / n, H, W] -> [B, channels, H, W]: each channel n times in a row."""
    return x.repeat_interleave(channels // x.shape[1], 1)
