"""What a model is made of, as frozen dataclasses; a key that is not known is an error.

A model's `config.json` holds one `ModelConfig`. The settings that give index planes their meaning are part of the
model's identity, see models/identity.py; the rest (names, ladders, backbone widths) may change freely.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta, field

from ..errors import ModelError
from .backbones import GLOBAL, BackboneConfig, backbone_problems
from .backbones import ConvConfig as ConvConfig
from .backbones import DcaeConfig as DcaeConfig
from .backbones import FoldedConfig as FoldedConfig
from .quantizers import ProductVQConfig as ProductVQConfig
from .quantizers import QuantizerConfig, mixtures_of
from .quantizers import UniformConfig as UniformConfig
from .reading import Count, Positive, Settings
from .single import MAX_LAYERS

MAX_WINDOW = 2**15
MAX_COMPUTE_WINDOW = 2**11


class TokenizerConfig(Settings, frozen=True):
    """Encoder + quantizer + decoder."""

    stride: Positive
    """Pixels per latent step."""
    backbone: BackboneConfig
    quantizer: QuantizerConfig
    window: Annotated[int, Meta(ge=0, le=MAX_WINDOW)] = 0
    """Side in px of the squares that are tokenized each on its own, for tokens that stand for more than their place;
    see `side`."""
    overlap: Count = 0
    """How far neighbouring windows overlap, px, at most half of them; their pixels are blended there."""
    compute_window: Annotated[int, Meta(ge=0, le=MAX_COMPUTE_WINDOW)] = 0
    """Largest side in px of what a network with attention or normalisation over the whole picture sees at once, for
    pictures of more pixels than its square; 0: such a network sees every picture whole, of up to 2048 x 2048 px.
    The tokens of a picture are one grid all the same, and files are no different."""
    compute_overlap: Count = 0
    """Least overlap of neighbouring compute windows, px, at most half of them; latents and pixels are blended
    there."""

    @property
    def side(self) -> int:
        """Of the windows, px: `window`, or what the backbone can see; 0 where the tokens of a picture are one grid."""
        fixed: int = getattr(self.backbone, "window", 0)
        return self.window or fixed

    @property
    def window_grid(self) -> tuple[int, ...]:
        """Shape of the latent of a window, (h, w) or (L,)."""
        fixed: tuple[int, ...] | None = getattr(self.backbone, "latent_grid", None)
        return fixed or (self.side // self.stride,) * 2

    def window_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each plane of a window."""
        return self.quantizer.shapes(self.window_grid)


class LadderStep(Settings, frozen=True):
    """One step of a model's quality ladder: from `quality` on, the first `keep` layers at multiplier `lmbda`.

    Quality is one scale for all bundled models; the part of a model begins at its first step.
    """

    quality: Annotated[int, Meta(ge=1, le=100)]
    keep: Positive
    lmbda: Annotated[float, Meta(ge=0, lt=1e6)] = field(default=1.0, name="rate")
    """Lagrangian multiplier, the weight of bits in the selection of indices; key `rate` in config.json. 0 selects the
    nearest codewords. Models trained without a rate term ignore it."""


class ModelConfig(Settings, frozen=True):
    """One shipped model: `config.json` beside its `model.safetensors`."""

    name: str
    tokenizer: TokenizerConfig
    token_id: str
    """Identity of the token space, 12 hexadecimal digits."""
    entropy_id: str
    """Identity of the entropy model, 8 hexadecimal digits."""
    weights_sha256: str
    """SHA-256 of model.safetensors."""
    layers: Annotated[tuple[tuple[int, ...], ...], Meta(min_length=1, max_length=MAX_LAYERS)]
    """Planes of each layer, coarse to fine."""
    ladder: tuple[LadderStep, ...]
    license: str = ""
    description: str = ""
    format_version: int = 1
    extra: dict[str, Any] = field(default_factory=dict)
    """Free facts for people (bits per layer, training data); never read by the codec."""


def check_model(config: ModelConfig, where: str) -> None:
    """Refuse a configuration that the codec cannot run. Raises ModelError naming `where` and the key."""
    check_tokenizer(config.tokenizer, f"{where}: tokenizer")
    quantizer = config.tokenizer.quantizer
    n_planes = len(quantizer.sizes)
    planes = [plane for layer in config.layers for plane in layer]
    for wrong, problem in (
        (config.format_version != 1, f"format_version {config.format_version} is not known; a newer vqcodec made it"),
        (planes != list(range(n_planes)), f"layers must hold the {n_planes} planes once each, in order"),
        (
            isinstance(config.tokenizer.quantizer, UniformConfig)
            and config.layers != config.tokenizer.quantizer.layers,
            "layers: those of a uniform quantizer are its widths",
        ),
        (any(step.keep > len(config.layers) for step in config.ladder), "ladder: keep beyond the layers"),
        (
            any(a.quality >= b.quality or a.keep > b.keep for a, b in itertools.pairwise(config.ladder)),
            "ladder: quality and keep must rise from step to step",
        ),
    ):
        if wrong:
            raise ModelError(f"{where}: {problem}")


def check_tokenizer(config: TokenizerConfig, where: str) -> None:
    """Refuse networks that cannot be built. Raises ModelError naming `where` and the key."""
    check_quantizer(config, where)
    if isinstance(config.quantizer, UniformConfig) != isinstance(config.backbone, FoldedConfig):
        raise ModelError(f"{where}: a uniform quantizer and a folded backbone go together, neither with another")
    for problem in backbone_problems(config.backbone, config.stride, config.quantizer.channels, config.window):
        raise ModelError(f"{where}{problem}")
    for problem in _compute_problems(config):
        raise ModelError(f"{where}{problem}")


def _compute_problems(config: TokenizerConfig) -> Iterator[str]:
    """Compute windows are for networks that see any size, all of it at once, and whose tokens are one grid."""
    side, overlap, stride = config.compute_window, config.compute_overlap, config.stride
    if side and (config.side or config.backbone.kind not in GLOBAL):
        yield ".compute_window: 0 needed; it is for the backbones dcae and vqgan without windows of their own"
    if side % stride:
        yield f".compute_window: multiples of {stride} needed, or 0"
    if 2 * overlap > side or overlap % stride:
        yield f".compute_overlap: multiples of {stride}, at most half of the compute window"


def check_quantizer(config: TokenizerConfig, where: str) -> None:
    """Refuse quantizers and windows that cannot be. Raises ModelError naming `where` and the key."""
    quantizer, side = config.quantizer, config.side
    for problem in quantizer.problems():
        raise ModelError(f"{where}.quantizer.{problem}")
    fixed = getattr(config.backbone, "window", 0)
    tokens = math.prod(config.window_grid)
    mixtures = mixtures_of(quantizer)
    segments = 1 if mixtures is None else mixtures.segments
    if getattr(quantizer, "over", "") == "tokens":
        segments *= getattr(quantizer, "parts", 1)
    for wrong, problem in (
        (fixed and config.window not in (0, fixed), f".window: the backbone sees {fixed} px and nothing else"),
        (side and isinstance(quantizer, UniformConfig), ".window: a uniform quantizer has none"),
        (side % config.stride, f".window: multiples of {config.stride} needed"),
        (2 * config.overlap > side, ".overlap: at most half of the window"),
        (not side and not quantizer.local, ".window: needed, since an index stands for more than its own place"),
        (
            side and getattr(quantizer, "over", "") == "tokens" and tokens % getattr(quantizer, "parts", 1),
            f".quantizer.parts: do not divide the {tokens} tokens of a window",
        ),
        (
            side and tokens % segments,
            f".quantizer: {segments} segments do not divide the {tokens} tokens of a window",
        ),
    ):
        if wrong:
            raise ModelError(f"{where}{problem}")
