"""Configurations of quantizers with one index per position, and the interface of all quantizer configurations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta
from typing_extensions import override

from ..planes import Grid, Layers, Shapes
from .reading import Channels, KindSettings

MAX_LAYERS = 16
"""Most layers of a file."""
MAX_ALPHABET = 2**16
"""Most codewords of a plane, the limit of a frequency table."""
MAX_PLANES = 256
"""Most planes of a model."""

Alphabet = Annotated[int, Meta(ge=1, le=MAX_ALPHABET)]
"""Number of codewords of a codebook."""
PlaneCount = Annotated[int, Meta(ge=1, le=MAX_PLANES)]
"""Number of groups, stages or parts, with at least one plane each."""


class QuantizerSettings(KindSettings, frozen=True):
    """Properties that every quantizer configuration has; planes and layers come coarse to fine."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Alphabet size of each plane."""
        return ()

    @property
    def channels(self) -> int:
        """Latent channels D."""
        return 0

    @property
    def groups(self) -> int:
        """Number of groups of latent channels; the decoder receives for each the share of its planes that is kept."""
        return 1

    @property
    def layers(self) -> Layers:
        """Planes of each layer, 1..16 layers; a quantizer whose planes have no order has one."""
        return (tuple(range(len(self.sizes))),)

    @property
    def local(self) -> bool:
        """True if the planes of a part of the latent are that part of the planes; otherwise windows are needed."""
        return True

    @property
    def segment_count(self) -> int:
        """Number of equal runs of tokens with codebooks of their own; it divides the tokens of a window."""
        return 1

    @property
    def fill(self) -> Literal["learned", "zero", "none"]:
        """Replacement of latent channels whose layers are not kept; none: every layer is needed."""
        return "zero"

    def shapes(self, grid: Grid) -> Shapes:
        """Shape of each plane for a latent of `grid`."""
        return (grid,) * len(self.sizes)

    def problems(self) -> Iterator[str]:
        """Violations of the rules across settings, key first."""
        yield from ()


def layered(planes: int) -> Layers:
    """One layer per plane, coarse to fine; of more than MAX_LAYERS planes the coarsest are joined."""
    layers = min(planes, MAX_LAYERS)
    widths = [planes // layers + (i < planes % layers) for i in range(layers)]
    ends = itertools.accumulate(widths)
    return tuple(tuple(range(end - width, end)) for end, width in zip(ends, widths, strict=True))


class CodeSettings(QuantizerSettings, frozen=True):
    """Properties of quantizers with one index per position."""

    @property
    def codebook_size(self) -> int:
        """Number of codewords K."""
        return 1

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    @property
    @override
    def fill(self) -> Literal["none"]:
        return "none"


class VQConfig(CodeSettings, frozen=True, tag="vq"):
    """Vector quantization with one codebook [K, d] for all channels."""

    codebook_size: Alphabet
    dim: Channels
    """Latent channels."""
    metric: Literal["euclidean", "cosine", "unit"] = "euclidean"
    """euclidean: nearest codeword; cosine: nearest in direction; unit: cosine, with latent and codewords scaled to
    length 1 in the losses and for the decoder as well."""

    @property
    @override
    def channels(self) -> int:
        return self.dim


class BinaryConfig(CodeSettings, frozen=True, tag="binary"):
    """One bit per channel, K = 2^bits without a codebook: LFQ (Yu et al. 2024), BSQ (Zhao et al. 2024)."""

    bits: Annotated[int, Meta(ge=1, le=16)]
    """Latent channels."""
    spherical: bool = False
    """BSQ: latent and codewords have length 1."""
    scale: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Size of the codewords of a residual stage or scale, relative to those of the stage before it."""

    @property
    @override
    def codebook_size(self) -> int:
        return 1 << self.bits

    @property
    @override
    def channels(self) -> int:
        return self.bits


class FSQConfig(CodeSettings, frozen=True, tag="fsq"):
    """Each channel bounded and rounded to one of a few levels (Mentzer et al. 2023)."""

    levels: Annotated[tuple[Annotated[int, Meta(ge=2, le=MAX_ALPHABET)], ...], Meta(min_length=1, max_length=16)]
    """Number of levels of each channel; K is their product."""

    @property
    @override
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    @property
    @override
    def channels(self) -> int:
        return len(self.levels)

    @override
    def problems(self) -> Iterator[str]:
        if self.codebook_size > MAX_ALPHABET:
            yield f"levels: at most {MAX_ALPHABET} codewords in all"


CodeConfig = VQConfig | BinaryConfig | FSQConfig
"""Quantizers with one index per position."""
