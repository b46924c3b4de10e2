"""What every backbone answers: pixels to latent and back.

`halo` is how many pixels beyond its own stride block an output depends on, to each side, a multiple of the stride;
None if that is the whole picture, or whatever part of it the network is shown.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module):
    """Built from (configuration, latent channels D, groups G)."""

    halo: int | None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1, H and W multiples of the stride -> latent z [B, D, h, w]."""


class Decoder(nn.Module):
    """Built from (configuration, latent channels D, groups G)."""

    halo: int | None

    @abstractmethod
    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w] with its fill, kept [B, G, h, w] of 0 and 1 -> pixels [B, 3, H, W], about -1..1."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight that makes pixels; the adaptive weight of the adversary is measured there (VQGAN, section 3.1)."""
