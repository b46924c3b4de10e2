"""Configurations of quantizers whose latent is a mixture of codewords: SoftVQ and GMMVQ (Chen et al. 2024)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from typing_extensions import override

from ..planes import Layers
from .reading import Channels
from .single import MAX_LAYERS, Alphabet, QuantizerSettings

WEIGHTS = 32
"""Alphabet size of a weight plane: a sign and 16 magnitudes."""


class SoftVQConfig(QuantizerSettings, frozen=True, tag="soft-vq"):
    """Mixture of all codewords, weighted by a softmax over their similarity (SoftVQ-VAE); see quantizers/soft.py.

    A file holds the most similar codeword, then further codewords with weights, whose sum approximates the mixture.
    """

    codebook_size: Alphabet
    dim: Channels
    """Latent channels."""
    segments: Channels = 1
    """Number of runs of tokens of equal length, each with a codebook of its own."""
    temperature: Annotated[float, Meta(gt=0)] = 0.07
    """Divisor of the similarities in the softmax."""
    normalised: bool = True
    """Scale latent and codewords to length 1 before they are compared, and codewords before they are mixed."""
    terms: Annotated[int, Meta(ge=1, le=MAX_LAYERS)] = 4
    """Codewords that a file holds for each token."""
    first_weight: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Weight of the most similar codeword; below 1, since a mixture is shorter than its codewords."""

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size, *(self.codebook_size, WEIGHTS) * (self.terms - 1))

    @property
    @override
    def channels(self) -> int:
        return self.dim

    @property
    @override
    def layers(self) -> Layers:
        return ((0,), *((s, s + 1) for s in range(1, 2 * self.terms - 1, 2)))

    @property
    @override
    def local(self) -> bool:
        return self.segments == 1

    @property
    @override
    def segment_count(self) -> int:
        return self.segments


class GMMVQConfig(SoftVQConfig, frozen=True, tag="gmm-vq"):
    """SoftVQ whose sharpness is computed from the latent by a linear layer (GMMVQ, SoftVQ-VAE B.2)."""

    normalised: bool = False
