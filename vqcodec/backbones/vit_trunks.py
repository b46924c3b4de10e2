"""Trunks of the vision transformer in the layouts of CLIP and EVA-02; DINOv2's is in vit_blocks.py.

SoftVQ-VAE (table 5) starts encoders from all three. Sequences are [B, N, C]: class token, patches of a square grid row
by row, latent tokens.

    dinov2   layer scales; GELU
    clip     a norm before the first layer; QuickGELU, no layer scales (Radford et al. 2021)
    eva02    rotary positions of patches in each layer; a gated unit with a norm inside (Fang et al. 2023)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.backbones import HEAD
from .rotary import grid_angles, turned
from .vit_blocks import EPS, Trunk
from .vqgan_blocks import self_attention

CLIP_EPS = 1e-5
"""Constant added to a variance before the square root, in CLIP."""
EVA_GRID = 16
"""Side, in patches, of the grid of EVA-02's rotary positions; other grids are scaled to it."""


class ClipLayer(nn.Module):
    """Transformer layer: attention and MLP with QuickGELU, each with a norm before and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=CLIP_EPS), nn.LayerNorm(width, eps=CLIP_EPS)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = width // HEAD

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, C] -> the same shape."""
        x = x + self.project(self_attention(self.qkv(self.norm1(x)), self.heads))
        hidden = self.expand(self.norm2(x))
        return x + self.narrow(hidden * torch.sigmoid(1.702 * hidden))


class ClipTrunk(Trunk):
    """Trunk of CLIP; the norm before the first layer applies to all tokens, latent ones included."""

    def __init__(self, width: int, depth: int, side: int) -> None:
        super().__init__(width, 0, side)
        self.norm_pre = nn.LayerNorm(width, eps=CLIP_EPS)
        self.layers = nn.Sequential(*(ClipLayer(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=CLIP_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens x [B, N, C], with their positions added -> features [B, N, C], normalized."""
        return self.norm(self.layers(self.norm_pre(x)))


class EvaLayer(nn.Module):
    """Transformer layer: attention with rotary positions, and a gated unit with a norm inside; keys have no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = int(width * 4 * 2 / 3)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.gate, self.expand = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.norm3, self.narrow = nn.LayerNorm(hidden, eps=EPS), nn.Linear(hidden, width)
        self.heads = width // HEAD

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Sequence x [B, N, C] with rotary `angles` [N, HEAD / 2]."""
        y = self.norm1(x)
        q, k, v = (part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(turned(q, angles), turned(k, angles), v)
        x = x + self.project(seen.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.narrow(self.norm3(F.silu(self.gate(y)) * self.expand(y)))


class EvaTrunk(Trunk):
    """Trunk of EVA-02; class token and latent tokens have no rotary position, since they are not on the grid."""

    def __init__(self, width: int, depth: int, side: int) -> None:
        super().__init__(width, 0, side)
        self.layers = nn.ModuleList(EvaLayer(width) for _ in range(depth))  # type: ignore[assignment]
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Tokens x [B, N, C], N at least 1 + side**2 -> features [B, N, C], normalized."""
        grid = grid_angles(self.side, self.side, HEAD).to(x.device) * (EVA_GRID / self.side)
        angles = torch.cat([grid.new_zeros(1, HEAD // 2), grid, grid.new_zeros(x.shape[1] - 1 - len(grid), HEAD // 2)])
        for layer in self.layers:
            x = layer(x, angles)
        return self.norm(x)


def make_trunk(layers: Literal["dinov2", "clip", "eva02"], width: int, depth: int, side: int) -> Trunk:
    """Build the trunk with the layout `layers`."""
    kinds: dict[str, type[Trunk]] = {"dinov2": Trunk, "clip": ClipTrunk, "eva02": EvaTrunk}
    return kinds[layers](width, depth, side)
