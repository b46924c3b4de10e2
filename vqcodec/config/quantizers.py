"""What a quantizer is made of, as frozen dataclasses: ours, those of the four papers, and what they are composed of.

    product-vq                                 ours and MGVQ's: groups of channels, nested
    vq, binary, fsq                            one index a position: what the next three are built from
    residual, multi-scale                      several indices a position, or grids that grow, each refining the last
    split                                      any of these for each part of the channels or of the tokens
    soft-vq, gmm-vq                            mixtures of codewords

Each answers what the codec asks (`QuantizerSettings`) without building a network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, structs

from ..planes import Grid, Layers, Shapes
from .reading import Count, Positive, Share
from .single import (
    MAX_LAYERS,
    MAX_PLANES,
    Alphabet,
    BinaryConfig,
    CodeConfig,
    FSQConfig,
    QuantizerSettings,
    VQConfig,
    layered,
)

__all__ = [
    "MAX_LAYERS",
    "MAX_PLANES",
    "WEIGHTS",
    "BinaryConfig",
    "CodeConfig",
    "FSQConfig",
    "GMMVQConfig",
    "MultiScaleConfig",
    "ProductVQConfig",
    "QuantizerConfig",
    "QuantizerSettings",
    "ResidualConfig",
    "SoftVQConfig",
    "SplitConfig",
    "VQConfig",
    "layered",
]


class ProductVQConfig(QuantizerSettings, frozen=True, tag="product-vq"):
    """G groups of the latent channels, each with its own codebook [K, d]. Answers what QuantizerSettings do."""

    groups: Positive
    codebook_size: Alphabet
    dim: Positive
    """Channels of each group, where `dims` does not say otherwise."""
    dims: tuple[Positive, ...] = ()
    """Channels of each group: few for the strong ones, so that all spend their bits alike. Empty: `dim` each."""
    normalised: bool = False
    """Latent and codewords are scaled to length 1 before they are compared; so is what the decoder gets."""
    fill: Literal["learned", "zero"] = "learned"
    """What stands for a group that is not kept."""
    refinements: tuple[Positive, ...] = ()
    """Channels of each further plane, which refines what the codewords of the groups leave over: so many of the first
    channels, so many of the next, and so on. Empty: none."""

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

    def problems(self) -> Iterator[str]:
        if len(self.widths) != self.groups:
            yield "dims: one for each group needed, or none at all"
        if self.refinements and sum(self.refinements) != self.channels:
            yield f"refinements: {self.channels} channels in all needed, or none"
        if self.refinements and self.normalised:
            yield "refinements: what codewords of length 1 leave over has no meaning; leave out normalised"
        if len(self.sizes) > MAX_PLANES:
            yield f"refinements: at most {MAX_PLANES} planes in all"


class ResidualConfig(QuantizerSettings, frozen=True, tag="residual"):
    """N stages: each quantizes what those before it have left over."""

    stages: Positive
    base: CodeConfig | SoftVQConfig | GMMVQConfig
    """Quantizer of each stage; of mixtures (SoftVQ-VAE, section 4.5) those without `normalised`."""
    shared: bool = False
    """One codebook for all stages."""
    dropout: Share = 0.0
    """Share of the samples that, in training, keep only a few of the stages."""
    dropout_start: Positive = 1
    """How many they keep at least."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.base.sizes * self.stages

    @property
    def channels(self) -> int:
        return self.base.channels

    @property
    def layers(self) -> Layers:
        """Those of the first stage, then those of the next; beyond MAX_LAYERS the coarsest are taken together."""
        planes = len(self.base.sizes)
        each = [tuple(n * planes + s for s in layer) for n in range(self.stages) for layer in self.base.layers]
        return tuple(tuple(s for i in numbers for s in each[i]) for numbers in layered(len(each)))

    @property
    def local(self) -> bool:
        return self.base.local

    def problems(self) -> Iterator[str]:
        yield from (f"base.{problem}" for problem in self.base.problems())
        if self.stages > MAX_PLANES // len(self.base.sizes):
            yield f"stages: 1..{MAX_PLANES // len(self.base.sizes)}"
        if isinstance(self.base, SoftVQConfig) and self.base.normalised:
            yield "base.normalised: what is left over has no unit length; false needed"
        if isinstance(self.base, SoftVQConfig) and self.dropout:
            yield "dropout: 0 for mixtures"
        if isinstance(self.base, VQConfig) and self.base.metric == "unit":
            yield "base.metric: what is left over has no unit length; take euclidean or cosine"
        if self.dropout and self.dropout_start > self.stages:
            yield f"dropout_start: 1..{self.stages}, the stages"


class MultiScaleConfig(QuantizerSettings, frozen=True, tag="multi-scale"):
    """Residual stages on grids that grow, with a few shared convolutions after enlarging (VAR, XQ-GAN)."""

    scales: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=MAX_PLANES)]
    """Side of each grid, in units of which the latent's own has the last."""
    base: CodeConfig
    convolutions: Count = 4
    """How many there are; a scale takes the one whose place among them is nearest to its own. 0: none."""
    blend: Share = 0.5
    """Weight of the convolved latent beside the plain one."""
    dropout: Share = 0.0
    """Share of the samples that, in training, keep only the first scales."""
    dropout_start: Positive = 3
    """How many they keep at least."""

    @property
    def stages(self) -> int:
        """Scales."""
        return len(self.scales)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.base.sizes * self.stages

    @property
    def channels(self) -> int:
        return self.base.channels

    @property
    def layers(self) -> Layers:
        return layered(self.stages)

    @property
    def local(self) -> bool:
        return False

    def shapes(self, grid: Grid) -> Shapes:
        """Each side in proportion, rounded; the last is `grid`."""
        last = self.scales[-1]
        return tuple(tuple(max(1, (2 * n * scale + last) // (2 * last)) for n in grid) for scale in self.scales)

    def problems(self) -> Iterator[str]:
        yield from (f"base.{problem}" for problem in self.base.problems())
        if list(self.scales) != sorted(self.scales):
            yield "scales: none smaller than the one before it"
        if isinstance(self.base, VQConfig) and self.base.metric == "unit":
            yield "base.metric: what is left over has no unit length; take euclidean or cosine"
        if self.dropout and self.dropout_start > self.stages:
            yield f"dropout_start: 1..{self.stages}, the scales"


class SplitConfig(QuantizerSettings, frozen=True, tag="split"):
    """P equal parts of the channels, or of the sequence of tokens, each with a quantizer of its own.

    Of channels: FQGAN's branches; XQ-GAN's, whose chunks of tokens stand side by side as channels for the decoder.
    """

    parts: Positive
    part: CodeConfig | ResidualConfig | MultiScaleConfig | SoftVQConfig | GMMVQConfig
    over: Literal["channels", "tokens"] = "channels"

    @property
    def order(self) -> tuple[tuple[int, int], ...]:
        """(part, plane of it) of each plane: layer by layer, part by part."""
        return tuple((p, s) for layer in self.part.layers for p in range(self.parts) for s in layer)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.part.sizes[s] for _, s in self.order)

    @property
    def channels(self) -> int:
        return self.part.channels * (self.parts if self.over == "channels" else 1)

    @property
    def groups(self) -> int:
        return self.part.groups * (self.parts if self.over == "channels" else 1)

    @property
    def layers(self) -> Layers:
        ends = [0, *itertools.accumulate(len(layer) * self.parts for layer in self.part.layers)]
        return tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends))

    @property
    def local(self) -> bool:
        return self.over == "channels" and self.part.local

    @property
    def fill(self) -> Literal["learned", "zero", "none"]:
        return self.part.fill

    def shapes(self, grid: Grid) -> Shapes:
        """Parts of the tokens are sequences, whatever the latent is."""
        shapes = self.part.shapes(grid if self.over == "channels" else (math.prod(grid) // self.parts,))
        return tuple(shapes[s] for _, s in self.order)

    def problems(self) -> Iterator[str]:
        yield from (f"part.{problem}" for problem in self.part.problems())
        if self.parts * len(self.part.sizes) > MAX_PLANES:
            yield f"parts: at most {MAX_PLANES} planes in all"


class SoftVQConfig(QuantizerSettings, frozen=True, tag="soft-vq"):
    """A mixture of all codewords, weighted by a softmax of their likeness (SoftVQ-VAE); see quantizers/soft.py.

    A file holds the likeliest codeword, then more of them with weights, so that their sum comes close to the mixture.
    """

    codebook_size: Alphabet
    dim: Positive
    segments: Positive = 1
    """Runs of tokens of equal length, each with its own codebook."""
    temperature: Annotated[float, Meta(gt=0)] = 0.07
    normalised: bool = True
    """Latent and codewords are scaled to length 1 before they are compared, and codewords before they are mixed."""
    terms: Annotated[int, Meta(ge=1, le=MAX_LAYERS)] = 4
    """Codewords that a file holds for each token."""
    first_weight: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Of the likeliest codeword; a mixture is shorter than that."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size, *(self.codebook_size, WEIGHTS) * (self.terms - 1))

    @property
    def channels(self) -> int:
        return self.dim

    @property
    def layers(self) -> Layers:
        return ((0,), *((s, s + 1) for s in range(1, 2 * self.terms - 1, 2)))

    @property
    def local(self) -> bool:
        return self.segments == 1


class GMMVQConfig(SoftVQConfig, frozen=True, tag="gmm-vq"):
    """SoftVQ whose sharpness is not a constant: a small network tells it from the latent (GMMVQ, SoftVQ-VAE B.2)."""

    normalised: bool = False


LARGEST = 4095
"""Largest absolute value of a scalar index."""
STEPS = 64
"""Number of quantization steps that a file can choose from."""


class UniformConfig(QuantizerSettings, frozen=True, tag="uniform"):
    """Each channel rounded to multiples of a step that a file chooses; see quantizers/uniform.py."""

    widths: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=MAX_LAYERS)]
    """Channels of each layer, coarse to fine."""
    lifted: Count = 0
    """Number of the first channels, whole layers of them, that go through a wavelet over the grid; see lifting.py."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (UNIFORM_ALPHABET,) * self.channels

    @property
    def channels(self) -> int:
        return sum(self.widths)

    @property
    def groups(self) -> int:
        return len(self.widths)

    @property
    def layers(self) -> Layers:
        ends = [0, *itertools.accumulate(self.widths)]
        return tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends))

    def problems(self) -> Iterator[str]:
        if self.channels > MAX_PLANES:
            yield f"widths: at most {MAX_PLANES} channels in all"
        if self.lifted not in (0, *itertools.accumulate(self.widths)):
            yield f"lifted: {self.lifted} channels are no whole layers"


UNIFORM_ALPHABET = 8191
"""Values -4095..4095 of a uniform quantizer."""
WEIGHTS = 32
"""Alphabet of a weight: a sign and 16 magnitudes."""

QuantizerConfig = (
    ProductVQConfig
    | VQConfig
    | BinaryConfig
    | FSQConfig
    | ResidualConfig
    | MultiScaleConfig
    | SplitConfig
    | SoftVQConfig
    | GMMVQConfig
    | UniformConfig
)


def mixtures_of(config: QuantizerConfig | CodeConfig) -> SoftVQConfig | None:
    """The mixtures of codewords that a quantizer is, or is made of; None where it is made of something else."""
    match config:
        case ResidualConfig():
            return mixtures_of(config.base)
        case SplitConfig():
            return mixtures_of(config.part)
        case _:
            return config if isinstance(config, SoftVQConfig) else None


def with_first_weight(config: Any, weight: float) -> Any:
    """The same quantizer with another weight of the first codeword of its mixtures."""
    match config:
        case ResidualConfig():
            return structs.replace(config, base=with_first_weight(config.base, weight))
        case SplitConfig():
            return structs.replace(config, part=with_first_weight(config.part, weight))
        case _:
            return structs.replace(config, first_weight=weight)


def has_codes(config: QuantizerConfig) -> bool:
    """Whether a quantizer of this kind is built from codes with codebooks."""
    match config:
        case ResidualConfig() | MultiScaleConfig():
            return has_codes(config.base)
        case SplitConfig():
            return has_codes(config.part)
        case _:
            return isinstance(config, VQConfig)
