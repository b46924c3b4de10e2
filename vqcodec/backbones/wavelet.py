"""9/7 wavelet of the picture with a decoder network that restores the result: for models with a quantization step.

    pixels -> orthonormal colour transform -> wavelet, `levels` levels -> z          (encoder)
    pixels <- picture + step * network(picture) <- colours <- wavelet    <- z_q      (decoder)

The transform is nearly orthonormal, up to a gain for each level, and the network only removes what quantization adds:
ringing and blur. Its input is the picture's difference from its local mean in units of the quantization step
(`contrast`): errors have the same size in it at all rates. The network is conditioned on the step: the last channel of
`kept` holds its coordinate, which scales and shifts the input of every block (FiLM: Perez et al. 2018).

wavelet_arrays.py has the transform in numpy, and the order of the channels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.backbones import WaveletConfig
from ..transforms.lifting import lift, unlift
from ..transforms.steps import COORDINATE
from .base import Decoder, Encoder
from .conv import ResidualBlock
from .wavelet_arrays import (
    CONTRAST,
    CONTRAST_LIMIT,
    FOLD,
    MEAN_RADIUS,
    PIXEL_STEP,
    channel_gains,
    channel_order,
    colour_transform,
    halo_of,
    levels_of,
)

EMBEDDING = 16
"""Size of the embedding of the step's coordinate."""


class WaveletEncoder(Encoder):
    """Pixels x [B, 3, H, W] in -1..1, H and W multiples of S -> latent z [B, 3 S^2, H / S, W / S]. No weights."""

    def __init__(self, config: WaveletConfig, channels: int, groups: int) -> None:
        super().__init__()
        self.levels = levels_of(channels)
        self.stride = 2**self.levels
        self.halo = halo_of(self.levels, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1 -> latent z float32 [B, D, H / S, W / S]."""
        with torch.autocast(x.device.type, enabled=False):
            y = torch.einsum("ij,bjhw->bihw", torch.from_numpy(colour_transform()).to(x.device), x.float())
            z = F.pixel_unshuffle(lift(y, self.levels), self.stride)[:, channel_order(self.levels)]
            return z * torch.from_numpy(channel_gains(self.levels)).to(z.device)


class ModulatedBlock(nn.Module):
    """Residual block whose input is scaled and shifted by an embedding [B, EMBEDDING]; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = ResidualBlock(channels)
        self.film = nn.Linear(EMBEDDING, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, C, H, W], embedding [B, EMBEDDING] -> [B, C, H, W]."""
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        block = self.block
        return x + block.conv2(F.silu(block.conv1(F.silu(x * (1 + scale) + shift))))


class WaveletDecoder(Decoder):
    """z_q [B, 3 S^2, h, w] and kept [B, G + 1, h, w] -> pixels [B, 3, S h, S w], about -1..1, not clamped.

    The last channel of `kept` is the coordinate of the quantization step. At the start of training the network adds
    nothing.
    """

    def __init__(self, config: WaveletConfig, channels: int, groups: int) -> None:
        super().__init__()
        self.levels = levels_of(channels)
        self.stride = 2**self.levels
        self.halo = halo_of(self.levels, config.depth)
        self.tell = nn.Sequential(nn.Linear(1, 2 * EMBEDDING), nn.SiLU(), nn.Linear(2 * EMBEDDING, EMBEDDING))
        self.head = nn.Conv2d(3 * FOLD**2, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(ModulatedBlock(config.width) for _ in range(config.depth))
        self.tail = nn.Conv2d(config.width, 3 * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w], kept [B, G + 1, h, w] -> pixels [B, 3, S h, S w], about -1..1."""
        picture = self.picture(z_q)
        coordinate = kept[:, -1:, 0, 0]
        embedding = self.tell(coordinate)
        size = size_at(coordinate)[:, :, None, None] / PIXEL_STEP
        y = self.head(contrast(picture, size))
        for block in self.blocks:
            y = block(y, embedding)
        return picture + F.pixel_shuffle(self.tail(F.silu(y)).float(), FOLD) * size

    def picture(self, z_q: Tensor) -> Tensor:
        """Latent [B, D, h, w] -> pixels [B, 3, S h, S w] of the transform alone, without the network."""
        with torch.autocast(z_q.device.type, enabled=False):
            z = z_q.float() / torch.from_numpy(channel_gains(self.levels)).to(z_q.device)
            blocks = z[:, np.argsort(channel_order(self.levels))]
            y = unlift(F.pixel_shuffle(blocks, self.stride), self.levels)
            return torch.einsum("ji,bjhw->bihw", torch.from_numpy(colour_transform()).to(z_q.device), y)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels."""
        return self.tail.weight


def contrast(picture: Tensor, size: Tensor) -> Tensor:
    """Picture [B, 3, H, W] -> differences from its local mean in units of `size` [B, 1, 1, 1], [B, 3 FOLD^2, h, w].

    The mean of a colour is that of the blocks of FOLD x FOLD px within MEAN_RADIUS blocks. Large differences are
    compressed to -CONTRAST_LIMIT..CONTRAST_LIMIT.
    """
    with torch.autocast(picture.device.type, enabled=False):
        blocks = F.pixel_unshuffle(picture.float(), FOLD).unflatten(1, (3, FOLD**2))
        r = MEAN_RADIUS
        means = F.avg_pool2d(F.pad(blocks.mean(2), (r, r, r, r), mode="replicate"), 2 * r + 1, 1)
        x = (blocks - means[:, :, None]).flatten(1, 2) * (CONTRAST / size)
        return x / (1 + x.abs() / CONTRAST_LIMIT)


def size_at(coordinate: Tensor) -> Tensor:
    """Quantization steps of coordinates, the inverse of `steps.coordinate`."""
    low, high = (math.log2(size) for size in COORDINATE)
    return torch.exp2(low + (coordinate + 1) * ((high - low) / 2))
