"""Vision transformer with latent tokens: the backbone of XQ-GAN and SoftVQ-VAE.

The latent is read from tokens of its own, so their number does not depend on the picture; the size of the picture is
fixed. Sequences of N patches, L latent tokens in each of P branches:

    [whole | N patches | L of branch 1 | ... | L of branch P]  -> layers -> the last P * L: to_latent -> z  (encoder)
    [whole | N blank | whole (grid only) | L: from_latent]     -> layers -> tokens 1..N: tail -> pixels     (decoder)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config.backbones import VitConfig
from .base import Decoder, Encoder
from .vit_blocks import Trunk
from .vit_trunks import make_trunk


class GridPlaces(nn.Module):
    """Positions of latent tokens: the picture's grid, resampled, and a learned vector per part of the sequence."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        # Only where training starts; the scale is that of XQ-GAN's trainer, and of the levels of VAR. At zero the
        # branches would start as equals, since their latents are next to nothing and their places are shared.
        self.parts = nn.Parameter(torch.randn(parts, width) * (3 * width) ** -0.5)

    def forward(self, trunk: Trunk, picture: Tensor, latents: list[Tensor], whole: bool) -> Tensor:
        """Picture tokens [B, 1 + N, C] with positions and latent tokens [B, L, C] of each branch -> the sequence."""
        placed = [trunk.placed(latent) for latent in latents]
        parts = [picture, *(part if whole else part[:, 1:] for part in placed)]
        return torch.cat([part + vector for part, vector in zip(parts, self.parts, strict=True)], 1)


class LearnedPlaces(nn.Module):
    """Positions of latent tokens: a learned vector for each."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)

    def forward(self, trunk: Trunk, picture: Tensor, latents: list[Tensor], whole: bool) -> Tensor:
        """Picture tokens [B, 1 + N, C] with positions and latent tokens [B, L, C] of each branch -> the sequence."""
        return torch.cat([picture, torch.cat(latents, 1) + self.positions], 1)


class VitEncoder(Encoder):
    """Pixels x [B, 3, window, window] in -1..1 -> latent z [B, D, h, w] or [B, D, L]."""

    halo = None

    def __init__(self, config: VitConfig, channels: int, groups: int) -> None:
        super().__init__()
        width, self.branches, self.grid = config.encoder_width, config.branches, config.latent_grid
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch)
        self.trunk = make_trunk(config.encoder_layers, width, config.encoder_depth, config.patches_per_side)
        self.latents = nn.Parameter(torch.randn(1, config.branches * config.tokens, width) * 1e-6)
        self.places = _places(config, config.branches, config.branches * config.tokens, width)
        self.to_latent = nn.Linear(width, channels // config.branches)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, window, window] in -1..1 -> latent z [B, D, h, w] or [B, D, L]."""
        picture = self.trunk.placed(self.patches(x).flatten(2).transpose(1, 2))
        latents = list(self.latents.expand(len(x), -1, -1).chunk(self.branches, 1))
        seen = self.trunk(self.places(self.trunk, picture, latents, whole=False))
        rows = self.to_latent(seen[:, -self.latents.shape[1] :])
        z = torch.cat(rows.chunk(self.branches, 1), 2).transpose(1, 2)
        return z.reshape(*z.shape[:2], *self.grid)


class VitDecoder(Decoder):
    """Latent [B, D, h, w] or [B, D, L] -> pixels x [B, 3, window, window], about -1..1, not clamped."""

    halo = None

    def __init__(self, config: VitConfig, channels: int, groups: int) -> None:
        super().__init__()
        width = config.decoder_width
        self.patch = config.patch
        self.from_latent = nn.Linear(channels, width)
        self.blank = nn.Parameter(torch.randn(1, 1, width) * 1e-6)
        self.trunk = Trunk(width, config.decoder_depth, config.patches_per_side)
        self.places = _places(config, 1, config.tokens, width)
        self.tail = nn.Linear(width, 3 * config.patch**2)
        self.n_patches = config.patches_per_side**2

    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w] or [B, D, L] -> pixels [B, 3, window, window]; `kept` is not used."""
        rows = self.from_latent(z_q.flatten(2).transpose(1, 2))
        picture = self.trunk.placed(self.blank.expand(len(rows), self.n_patches, -1))
        seen = self.trunk(self.places(self.trunk, picture, [rows], whole=True))
        return unpatched(self.tail(seen[:, 1 : 1 + self.n_patches]), self.patch)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels."""
        return self.tail.weight


def _places(config: VitConfig, branches: int, tokens: int, width: int) -> GridPlaces | LearnedPlaces:
    return GridPlaces(1 + branches, width) if config.positions == "grid" else LearnedPlaces(tokens, width)


def unpatched(rows: Tensor, patch: int) -> Tensor:
    """Patches [B, n * n, patch * patch * 3] of (row, column, colour), row by row -> pixels [B, 3, H, W]."""
    batch, n, _ = rows.shape
    side = round(n**0.5)
    grid = rows.reshape(batch, side, side, patch, patch, 3).permute(0, 5, 1, 3, 2, 4)
    return grid.reshape(batch, 3, side * patch, side * patch)
