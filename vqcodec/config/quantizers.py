"""Configurations of quantizers and of their compositions.

    product-vq               groups of channels with a codebook each, nested
    vq, binary, fsq          one index per position; the parts of the next three (single.py)
    residual, multi-scale    stages, on one grid or on growing grids, each quantizing the residual of those before it
    split                    one of these for each part of the channels or of the tokens
    soft-vq, gmm-vq          mixtures of codewords (mixtures.py)
    uniform                  scalar quantization with a step per file

`QuantizerSettings` is their common interface; it needs no network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, structs
from typing_extensions import override

from ..planes import Grid, Layers, Shapes
from .mixtures import WEIGHTS, GMMVQConfig, SoftVQConfig
from .reading import Channels, DepthOrNone, Positive, Share
from .single import (
    MAX_LAYERS,
    MAX_PLANES,
    Alphabet,
    BinaryConfig,
    CodeConfig,
    FSQConfig,
    PlaneCount,
    QuantizerSettings,
    VQConfig,
    layered,
)

__all__ = [
    "GAINS",
    "LARGEST",
    "LOW_LEVELS",
    "MAX_LAYERS",
    "MAX_PLANES",
    "STEPS",
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
    "UniformConfig",
    "VQConfig",
    "layered",
]

LARGEST = 4095
"""Largest absolute value of a scalar index."""
UNIFORM_ALPHABET = 2 * LARGEST + 1
"""Alphabet size of a plane of scalar indices, -LARGEST..LARGEST."""
LOW_LEVELS = 4
"""Wavelet levels of the low band over the grid of a latent."""
STEPS = 64
"""Number of quantization steps that a file can choose from."""
GAINS = (1.3, 1.95, 2.6)
"""Factors from pixels in -1..1 to the scale of wavelet coefficients, which steps refer to: of level 0 (the finest),
level 1, and all others.

Equal factors would give the least squared error. MS-SSIM weights the finest scale least: 1.56, 2.0 and 2.25 take 10 %
fewer bytes at equal MS-SSIM and 3 % more at equal PSNR than equal ones (three small validation pictures), these another
3 % fewer and 4 % more (ten training pictures, networks trained with the former).
"""


class ProductVQConfig(QuantizerSettings, frozen=True, tag="product-vq"):
    """Product quantization: G groups of the latent channels, each with its own codebook [K, d]."""

    groups: PlaneCount
    codebook_size: Alphabet
    dim: Channels
    """Channels of each group if `dims` is empty."""
    dims: tuple[Channels, ...] = ()
    """Channels of each group: few for groups of high variance, so that all groups have about the same rate. Empty:
    `dim` each."""
    normalised: bool = False
    """Scale latent and codewords of each group to length 1, in selection and for the decoder."""
    fill: Literal["learned", "zero"] = "learned"
    """Replacement of a group that is not kept."""
    refinements: tuple[Channels, ...] = ()
    """Channels of each residual plane, which quantizes the residual of the groups: the first entry counts the first
    channels, the second the next, and so on, D in all. Empty: none."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each group."""
        return self.dims or (self.dim,) * self.groups

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) * (self.groups + len(self.refinements))

    @property
    @override
    def channels(self) -> int:
        return sum(self.widths)

    @property
    @override
    def layers(self) -> Layers:
        return layered(len(self.sizes))

    @override
    def problems(self) -> Iterator[str]:
        if len(self.widths) != self.groups:
            yield f"dims: one for each of the {self.groups} groups needed, or none at all"
        if self.refinements and sum(self.refinements) != self.channels:
            yield f"refinements: {self.channels} channels in all needed, or none"
        if self.refinements and self.normalised:
            yield "refinements: the residual of codewords of length 1 has no meaning; leave out normalised"
        if len(self.sizes) > MAX_PLANES:
            yield f"refinements: at most {MAX_PLANES} planes in all"


class ResidualConfig(QuantizerSettings, frozen=True, tag="residual"):
    """Residual quantization in N stages: each quantizes the residual of the stages before it."""

    stages: PlaneCount
    base: CodeConfig | SoftVQConfig | GMMVQConfig
    """Quantizer of each stage; mixtures (SoftVQ-VAE, section 4.5) need `normalised` false."""
    shared: bool = False
    """One codebook for all stages."""
    dropout: Share = 0.0
    """Share of the samples that keep only a few stages in training."""
    dropout_start: Positive = 1
    """Least number of stages that such a sample keeps."""

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return self.base.sizes * self.stages

    @property
    @override
    def channels(self) -> int:
        return self.base.channels

    @property
    def layers(self) -> Layers:
        """Layers of the first stage, then of the next; of more than MAX_LAYERS the coarsest are joined."""
        planes = len(self.base.sizes)
        each = [tuple(n * planes + s for s in layer) for n in range(self.stages) for layer in self.base.layers]
        return tuple(tuple(s for i in numbers for s in each[i]) for numbers in layered(len(each)))

    @property
    @override
    def local(self) -> bool:
        return self.base.local

    @property
    @override
    def segment_count(self) -> int:
        return self.base.segment_count

    @override
    def problems(self) -> Iterator[str]:
        yield from (f"base.{problem}" for problem in self.base.problems())
        if self.stages > MAX_PLANES // len(self.base.sizes):
            yield f"stages: 1..{MAX_PLANES // len(self.base.sizes)}"
        if isinstance(self.base, SoftVQConfig) and self.base.normalised:
            yield "base.normalised: a residual has no unit length; false needed"
        if isinstance(self.base, SoftVQConfig) and self.dropout:
            yield "dropout: 0 for mixtures"
        yield from _stage_problems(self)


class MultiScaleConfig(QuantizerSettings, frozen=True, tag="multi-scale"):
    """Residual stages on growing grids, with a few shared convolutions after enlargement (VAR, XQ-GAN)."""

    scales: Annotated[tuple[Channels, ...], Meta(min_length=1, max_length=MAX_PLANES)]
    """Side of each grid, rising; the last stands for the latent's own side, the others are in proportion to it."""
    base: CodeConfig
    """Quantizer of each scale."""
    convolutions: DepthOrNone = 4
    """Number of convolutions; each scale uses the one at the nearest relative position. 0: none."""
    blend: Share = 0.5
    """Weight of the convolved latent; the unchanged latent has weight 1 - blend."""
    dropout: Share = 0.0
    """Share of the samples that keep only the first scales in training."""
    dropout_start: Positive = 3
    """Least number of scales that such a sample keeps."""

    @property
    def stages(self) -> int:
        """Number of scales."""
        return len(self.scales)

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return self.base.sizes * self.stages

    @property
    @override
    def channels(self) -> int:
        return self.base.channels

    @property
    @override
    def layers(self) -> Layers:
        return layered(self.stages)

    @property
    @override
    def local(self) -> bool:
        return False

    def shapes(self, grid: Grid) -> Shapes:
        """Each side in proportion to its scale, rounded, at least 1; the last is `grid`."""
        last = self.scales[-1]
        return tuple(tuple(max(1, (2 * n * scale + last) // (2 * last)) for n in grid) for scale in self.scales)

    @override
    def problems(self) -> Iterator[str]:
        yield from (f"base.{problem}" for problem in self.base.problems())
        if list(self.scales) != sorted(self.scales):
            yield "scales: none smaller than the one before it"
        yield from _stage_problems(self)


def _stage_problems(config: ResidualConfig | MultiScaleConfig) -> Iterator[str]:
    if isinstance(config.base, VQConfig) and config.base.metric == "unit":
        yield "base.metric: a residual has no unit length; euclidean or cosine needed"
    if config.dropout and config.dropout_start > config.stages:
        yield f"dropout_start: 1..{config.stages}, the stages"


class SplitConfig(QuantizerSettings, frozen=True, tag="split"):
    """P equal parts of the channels, or of the sequence of tokens, each with a quantizer of its own.

    Parts of channels are the branches of FQGAN, and those of XQ-GAN, whose decoder receives its chunks of tokens side
    by side as channels.
    """

    parts: PlaneCount
    part: CodeConfig | ResidualConfig | MultiScaleConfig | SoftVQConfig | GMMVQConfig
    """Quantizer of each part."""
    over: Literal["channels", "tokens"] = "channels"

    @property
    def order(self) -> tuple[tuple[int, int], ...]:
        """(part, plane of that part) of each plane: layer by layer, part by part."""
        return tuple((p, s) for layer in self.part.layers for p in range(self.parts) for s in layer)

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.part.sizes[s] for _, s in self.order)

    @property
    @override
    def channels(self) -> int:
        return self.part.channels * (self.parts if self.over == "channels" else 1)

    @property
    @override
    def groups(self) -> int:
        return self.part.groups * (self.parts if self.over == "channels" else 1)

    @property
    @override
    def layers(self) -> Layers:
        return _runs(len(layer) * self.parts for layer in self.part.layers)

    @property
    @override
    def local(self) -> bool:
        return self.over == "channels" and self.part.local

    @property
    @override
    def segment_count(self) -> int:
        return self.part.segment_count * (self.parts if self.over == "tokens" else 1)

    @property
    @override
    def fill(self) -> Literal["learned", "zero", "none"]:
        return self.part.fill

    def shapes(self, grid: Grid) -> Shapes:
        """Shape of each plane; parts of the tokens are sequences for any `grid`."""
        shapes = self.part.shapes(grid if self.over == "channels" else (math.prod(grid) // self.parts,))
        return tuple(shapes[s] for _, s in self.order)

    @override
    def problems(self) -> Iterator[str]:
        yield from (f"part.{problem}" for problem in self.part.problems())
        if self.parts * len(self.part.sizes) > MAX_PLANES:
            yield f"parts: at most {MAX_PLANES} planes in all"


class UniformConfig(QuantizerSettings, frozen=True, tag="uniform"):
    """Each wavelet coefficient rounded to multiples of a step that a file chooses; see quantizers/uniform.py."""

    levels: Annotated[int, Meta(ge=2, le=3)]
    """Wavelet levels within a stride of 2**levels px; the low band has further levels over the grid, see lifting.py."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each layer, coarse to fine: the low band of all colours; luma, then chroma, of each level."""
        return (3, *(width * 4**level for level in range(self.levels) for width in (3, 6)))

    @property
    def lifted(self) -> int:
        """Number of first channels that are transformed over the grid: the low band of each colour."""
        return 3

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return (UNIFORM_ALPHABET,) * self.channels

    @property
    @override
    def channels(self) -> int:
        return sum(self.widths)

    @property
    @override
    def groups(self) -> int:
        return len(self.widths)

    @property
    @override
    def layers(self) -> Layers:
        return _runs(self.widths)


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
"""Every quantizer; a table without `kind` is the first."""


def _runs(lengths: Iterable[int]) -> Layers:
    """Consecutive runs of plane numbers of these lengths."""
    ends = [0, *itertools.accumulate(lengths)]
    return tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends))


def mixtures_of(config: QuantizerConfig | CodeConfig) -> SoftVQConfig | None:
    """Configuration of the mixtures that a quantizer consists of; None if it has none."""
    match config:
        case ResidualConfig():
            return mixtures_of(config.base)
        case SplitConfig():
            return mixtures_of(config.part)
        case _:
            return config if isinstance(config, SoftVQConfig) else None


def with_first_weight(config: Any, weight: float) -> Any:
    """Copy of the configuration of a quantizer of mixtures with another `first_weight`."""
    match config:
        case ResidualConfig():
            return structs.replace(config, base=with_first_weight(config.base, weight))
        case SplitConfig():
            return structs.replace(config, part=with_first_weight(config.part, weight))
        case _:
            return structs.replace(config, first_weight=weight)


def has_codes(config: QuantizerConfig) -> bool:
    """Return True for quantizers that consist of vector quantizers with codebooks (`vq`)."""
    match config:
        case ResidualConfig() | MultiScaleConfig():
            return has_codes(config.base)
        case SplitConfig():
            return has_codes(config.part)
        case _:
            return isinstance(config, VQConfig)
