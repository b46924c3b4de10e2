"""Layers of the vision transformer, and positions on grids of other sizes.

ViT (Dosovitskiy et al. 2021) with the
layer scales of CaiT (Touvron et al. 2021), as in DINOv2 (Oquab et al. 2023). Sequences are [B, N, C].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.backbones import HEAD
from .vqgan_blocks import self_attention

EPS = 1e-6
"""Constant added to a variance before the square root."""
SHALLOW = 18
"""Largest depth at which layer scales start at 0.1; deeper trunks start at a value close to 0.

CaiT starts at 1e-5 from this depth on. Latent tokens receive the picture through these scales only, so a small trunk
that starts close to 0 learns nothing until they have grown; the papers start from pretrained trunks.
"""


def first_scale(depth: int) -> float:
    """Layer scale at the start of training, in a trunk of `depth` layers."""
    return 0.1 if depth <= SHALLOW else 1e-5


class Layer(nn.Module):
    """Transformer layer: attention and MLP, each with a norm before, a scale per channel, and a shortcut."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.scale1 = nn.Parameter(torch.full((width,), scale))
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.expand = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale2 = nn.Parameter(torch.full((width,), scale))
        self.heads = width // HEAD

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, C] -> the same shape."""
        x = x + self.scale1 * self.project(self_attention(self.qkv(self.norm1(x)), self.heads))
        return x + self.scale2 * self.narrow(F.gelu(self.expand(self.norm2(x))))


class Trunk(nn.Module):
    """Layers, class token, and positions of class token and patches."""

    def __init__(self, width: int, depth: int, side: int) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.randn(1, 1, width) * 1e-6)
        self.positions = nn.Parameter(torch.randn(1, 1 + side**2, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, first_scale(depth)) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def placed(self, tokens: Tensor) -> Tensor:
        """Tokens [B, n * n, C] of a square grid -> class token and tokens with positions [B, 1 + n * n, C]."""
        whole = self.whole.expand(len(tokens), -1, -1)
        return torch.cat([whole, tokens], 1) + resampled(self.positions, tokens.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Tokens x [B, N, C], with their positions added -> features [B, N, C], normalized."""
        return self.norm(self.layers(x))


def resampled(positions: Tensor, tokens: int) -> Tensor:
    """Positions [1, 1 + m * m, C] of class token and grid -> [1, 1 + n * n, C] for a grid of n * n `tokens`."""
    if positions.shape[1] == 1 + tokens:
        return positions
    whole, grid = positions[:, :1], positions[:, 1:]
    m, n = round(grid.shape[1] ** 0.5), round(tokens**0.5)
    picture = grid.float().reshape(1, m, m, -1).permute(0, 3, 1, 2)
    picture = F.interpolate(picture, (n, n), mode="bicubic", antialias=True)
    return torch.cat([whole, picture.flatten(2).transpose(1, 2).to(grid.dtype)], 1)
