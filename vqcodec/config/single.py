"""Configurations of quantizers that give one index for each place of a grid, and what all configurations answer.

Differs from quantizer_config.py, where these are put together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from ..planes import Grid, Layers, Shapes
from .reading import KindSettings, Positive

MAX_LAYERS = 16
"""Of a file."""
MAX_ALPHABET = 2**16
"""Codewords of a plane: what a frequency table can hold."""
MAX_PLANES = 256

Alphabet = Annotated[int, Meta(ge=1, le=MAX_ALPHABET)]
"""Number of codewords of a codebook."""


class QuantizerSettings(KindSettings, frozen=True):
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

    def shapes(self, grid: Grid) -> Shapes:
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


class VQConfig(QuantizerSettings, frozen=True, tag="vq"):
    """One codebook [K, d] for all channels."""

    codebook_size: Alphabet
    dim: Positive
    metric: Literal["euclidean", "cosine", "unit"] = "euclidean"
    """The nearest codeword; the nearest in direction; or that, with latent and codeword of length 1 from there on."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    @property
    def channels(self) -> int:
        return self.dim

    @property
    def fill(self) -> Literal["none"]:
        return "none"


class BinaryConfig(QuantizerSettings, frozen=True, tag="binary"):
    """A bit for each channel, K = 2^bits without a codebook: LFQ (Yu et al. 2024), BSQ (Zhao et al. 2024)."""

    bits: Annotated[int, Meta(ge=1, le=16)]
    """Channels."""
    spherical: bool = False
    """BSQ: the latent is scaled to length 1, and so is what stands for the bits."""
    scale: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """What the values of a residual stage or scale are, in units of those of the one before it."""

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


class FSQConfig(QuantizerSettings, frozen=True, tag="fsq"):
    """Each channel bounded and rounded to one of a few levels, K is their product (Mentzer et al. 2023)."""

    levels: Annotated[tuple[Annotated[int, Meta(ge=2)], ...], Meta(min_length=1)]
    """Of each channel, at least 2."""

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
        if self.codebook_size > MAX_ALPHABET:
            yield f"levels: at most {MAX_ALPHABET} codes in all"


CodeConfig = VQConfig | BinaryConfig | FSQConfig
"""One index a position."""
