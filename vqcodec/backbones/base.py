"""Backbone interface: pixels to latent and back.

`halo` is the number of pixels beyond its own stride block that an output depends on, to each side, a multiple of the
stride; None if it depends on the whole input.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module):
    """Network built from (configuration, latent channels D, groups G)."""

    halo: int | None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1, H and W multiples of the stride -> latent z [B, D, h, w]."""


class Decoder(nn.Module):
    """Network built from (configuration, latent channels D, groups G)."""

    halo: int | None

    @abstractmethod
    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w] with its fill, kept [B, G, h, w] of 0 and 1 -> pixels [B, 3, H, W], about -1..1."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels; used for the adversary's adaptive weight (VQGAN, section 3.1)."""
