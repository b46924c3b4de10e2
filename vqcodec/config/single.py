"""Configurations of quantizers that give one index for each place of a grid, and what all configurations answer.

Differs from quantizer_config.py, where these are put together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..planes import Grid, Layers

MAX_LAYERS = 16
"""Of a file."""
MAX_ALPHABET = 2**16
"""Codewords of a plane: what a frequency table can hold."""
MAX_PLANES = 256


class QuantizerSettings:
    """What every quantizer's configuration answers; planes and layers come coarse to fine."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Alphabet of each plane."""
        return ()

    @property
    def channels(self) -> int:
        """Latent channels D."""
        return 0

    @property
    def groups(self) -> int:
        """Parts of the latent's channels; the decoder is told of each how much is kept."""
        return 1

    @property
    def layers(self) -> Layers:
        """Planes of each layer, 1..16 layers; a quantizer whose planes have no order has one."""
        return (tuple(range(len(self.sizes))),)

    @property
    def local(self) -> bool:
        """Whether the planes of a part of the latent are that part of the planes; if not, tokens belong to windows."""
        return True

    @property
    def fill(self) -> Literal["learned", "zero", "none"]:
        """What stands for layers that are not kept; none: all of them are needed."""
        return "zero"

    def shapes(self, grid: Grid) -> tuple[Grid, ...]:
        """Shape of each plane for a latent of `grid`."""
        return (grid,) * len(self.sizes)

    def problems(self) -> Iterator[str]:
        """What is wrong with these settings, key first."""
        yield from ()


def layered(planes: int) -> Layers:
    """A layer for each plane, coarse to fine; beyond MAX_LAYERS planes the coarsest are taken together."""
    layers = min(planes, MAX_LAYERS)
    widths = [planes // layers + (i < planes % layers) for i in range(layers)]
    ends = itertools.accumulate(widths)
    return tuple(tuple(range(end - width, end)) for end, width in zip(ends, widths, strict=True))


@dataclass(frozen=True)
class ProductVQConfig:
    """G groups of the latent channels, each with its own codebook [K, d]. Answers what QuantizerSettings do."""

    groups: int
    codebook_size: int
    dim: int
    """Channels of each group, where `dims` does not say otherwise."""
    dims: tuple[int, ...] = ()
    """Channels of each group: few for the strong ones, so that all spend their bits alike. Empty: `dim` each."""
    normalised: bool = False
    """Latent and codewords are scaled to length 1 before they are compared; so is what the decoder gets."""
    fill: Literal["learned", "zero"] = "learned"
    """What stands for a group that is not kept."""
    refinements: tuple[int, ...] = ()
    """Channels of each further plane, which refines what the codewords of the groups leave over: so many of the first
    channels, so many of the next, and so on. Empty: none."""
    kind: Literal["product-vq"] = "product-vq"

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each group."""
        return self.dims or (self.dim,) * self.groups

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) * (self.groups + len(self.refinements))

    @property
    def channels(self) -> int:
        return sum(self.widths)

    @property
    def layers(self) -> Layers:
        return layered(len(self.sizes))

    @property
    def local(self) -> bool:
        return True

    def shapes(self, grid: Grid) -> tuple[Grid, ...]:
        """Shape of each plane for a latent of `grid`."""
        return (grid,) * len(self.sizes)

    def problems(self) -> Iterator[str]:
        if len(self.widths) != self.groups:
            yield "dims: one for each group needed, or none at all"
        if min(self.groups, self.codebook_size, *self.widths) < 1:
            yield "groups, codebook_size, dim and dims must be at least 1"
        if self.codebook_size > MAX_ALPHABET:
            yield f"codebook_size must be 1..{MAX_ALPHABET}; for more codes take more groups"
        if self.refinements and (min(self.refinements) < 1 or sum(self.refinements) != self.channels):
            yield f"refinements: at least 1 channel each, {self.channels} in all, or none"
        if self.refinements and self.normalised:
            yield "refinements: what codewords of length 1 leave over has no meaning; leave out normalised"
        if len(self.sizes) > MAX_PLANES:
            yield f"refinements: at most {MAX_PLANES} planes in all"


@dataclass(frozen=True)
class VQConfig(QuantizerSettings):
    """One codebook [K, d] for all channels."""

    codebook_size: int
    dim: int
    metric: Literal["euclidean", "cosine", "unit"] = "euclidean"
    """The nearest codeword; the nearest in direction; or that, with latent and codeword of length 1 from there on."""
    kind: Literal["vq"] = "vq"

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    @property
    def channels(self) -> int:
        return self.dim

    @property
    def fill(self) -> Literal["none"]:
        return "none"

    def problems(self) -> Iterator[str]:
        if not 1 <= self.codebook_size <= MAX_ALPHABET or self.dim < 1:
            yield f"codebook_size must be 1..{MAX_ALPHABET} and dim at least 1"


@dataclass(frozen=True)
class BinaryConfig(QuantizerSettings):
    """A bit for each channel, K = 2^bits without a codebook: LFQ (Yu et al. 2024), BSQ (Zhao et al. 2024)."""

    bits: int
    """Channels."""
    spherical: bool = False
    """BSQ: the latent is scaled to length 1, and so is what stands for the bits."""
    scale: float = 1.0
    """What the values of a residual stage or scale are, in units of those of the one before it."""
    kind: Literal["binary"] = "binary"

    @property
    def codebook_size(self) -> int:
        """2^bits."""
        return 1 << self.bits

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    @property
    def channels(self) -> int:
        return self.bits

    @property
    def fill(self) -> Literal["none"]:
        return "none"

    def problems(self) -> Iterator[str]:
        if not 1 <= self.bits <= 16:
            yield "bits: 1..16; split more over parts"
        if not 0 < self.scale <= 1:
            yield "scale: above 0, at most 1"


@dataclass(frozen=True)
class FSQConfig(QuantizerSettings):
    """Each channel bounded and rounded to one of a few levels, K is their product (Mentzer et al. 2023)."""

    levels: tuple[int, ...]
    """Of each channel, at least 2."""
    kind: Literal["fsq"] = "fsq"

    @property
    def codebook_size(self) -> int:
        """The product of the levels."""
        return math.prod(self.levels)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    @property
    def channels(self) -> int:
        return len(self.levels)

    @property
    def fill(self) -> Literal["none"]:
        return "none"

    def problems(self) -> Iterator[str]:
        if not self.levels or min(self.levels) < 2 or self.codebook_size > MAX_ALPHABET:
            yield f"levels: at least 2 for each channel, at most {MAX_ALPHABET} codes in all"


CodeConfig = VQConfig | BinaryConfig | FSQConfig
"""One index a position."""
