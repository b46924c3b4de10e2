"""Configuration of a model: tokenizer, layers, quality ladder and identities.

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
from ..planes import Grid, Layers, Shapes
from .backbones import GLOBAL, BackboneConfig, backbone_problems
from .backbones import ConvConfig as ConvConfig
from .backbones import DcaeConfig as DcaeConfig
from .backbones import WaveletConfig as WaveletConfig
from .quantizers import QuantizerConfig, UniformConfig
from .reading import Count, Positive, Settings
from .single import MAX_LAYERS

MAX_STRIDE = 2**10
"""Largest stride, px; it bounds the number of stages of a network."""
MAX_WINDOW = 2**15
"""Largest side of a window, px."""
MAX_COMPUTE_WINDOW = 2**11
"""Largest side of a compute window, px."""


class TokenizerConfig(Settings, frozen=True):
    """Configuration of a tokenizer: encoder, quantizer and decoder.

    Without a window the tokens of a picture are one grid. With one, the picture is covered by square windows, and each
    is tokenized by itself: for backbones of fixed input size, and for quantizers whose indices describe more than
    their own position.
    """

    stride: Annotated[int, Meta(ge=1, le=MAX_STRIDE)]
    """Pixels per latent step."""
    backbone: BackboneConfig
    quantizer: QuantizerConfig
    window: Annotated[int, Meta(ge=0, le=MAX_WINDOW)] = 0
    """Side of the windows, px, a multiple of the stride; 0: that of the backbone's input if it is fixed, else none.
    `window_px` is the side in effect."""
    overlap: Count = 0
    """Overlap of neighbouring windows, px, at most half of the side; decoded pixels are blended there."""
    compute_window: Annotated[int, Meta(ge=0, le=MAX_COMPUTE_WINDOW)] = 0
    """Largest side, px, of the network's input for backbones that see whole pictures (attention, normalisation over the
    picture) and have no window. Larger pictures are computed window by window; their tokens are still one grid, and
    the file format is the same. 0: pictures are computed whole, up to 2048 x 2048 px."""
    compute_overlap: Count = 0
    """Least overlap of neighbouring compute windows, px, at most half of the side; latents and pixels are blended
    there."""

    @property
    def window_px(self) -> int:
        """Side of the windows, px; 0 where the tokens of a picture are one grid."""
        return self.window or self.backbone.input_px

    @property
    def window_grid(self) -> Grid:
        """Shape of the latent of a window, (h, w) or (L,)."""
        return self.backbone.latent_grid or (self.window_px // self.stride,) * 2

    def window_shapes(self) -> Shapes:
        """Shape of each plane of a window."""
        return self.quantizer.shapes(self.window_grid)


class LadderStep(Settings, frozen=True):
    """One step of a model's quality ladder: from `quality` on, the first `keep` layers at multiplier `lmbda`."""

    quality: Annotated[int, Meta(ge=1, le=100)]
    keep: Positive
    lmbda: Annotated[float, Meta(ge=0, lt=1e6)] = field(default=1.0, name="rate")
    """Lagrangian multiplier, the weight of bits in the selection of indices; key `rate` in config.json. 0 selects the
    nearest codewords. Models trained without a rate term ignore it."""


class ModelConfig(Settings, frozen=True):
    """Configuration of a model, the content of its config.json."""

    name: str
    tokenizer: TokenizerConfig
    token_id: str
    """Identity of the token space, 12 hexadecimal digits."""
    entropy_id: str
    """Identity of the entropy model, 8 hexadecimal digits."""
    weights_sha256: str
    """SHA-256 of model.safetensors, hexadecimal."""
    layers: Annotated[Layers, Meta(min_length=1, max_length=MAX_LAYERS)]
    """Planes of each layer, coarse to fine; every plane is in one layer."""
    ladder: tuple[LadderStep, ...]
    license: str = ""
    description: str = ""
    format_version: int = 1
    """Version of this table; only 1 is known."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Notes for readers (bits per layer, training data); the codec ignores them."""


def check_model(config: ModelConfig, where: str) -> None:
    """Check the rules across settings. Raises ModelError naming `where` and the key."""
    check_tokenizer(config.tokenizer, f"{where}: tokenizer")
    for problem in _model_problems(config):
        raise ModelError(f"{where}: {problem}")


def _model_problems(config: ModelConfig) -> Iterator[str]:
    quantizer, ladder = config.tokenizer.quantizer, config.ladder
    n_planes = len(quantizer.sizes)
    if config.format_version != 1:
        yield f"format_version {config.format_version} is not known; a newer vqcodec made it"
    if [plane for layer in config.layers for plane in layer] != list(range(n_planes)):
        yield f"layers must hold the {n_planes} planes once each, in order"
    if isinstance(quantizer, UniformConfig) and config.layers != quantizer.layers:
        yield "layers: those of a uniform quantizer are its widths"
    if any(step.keep > len(config.layers) for step in ladder):
        yield f"ladder: keep beyond the {len(config.layers)} layers"
    if any(a.quality >= b.quality or a.keep > b.keep for a, b in itertools.pairwise(ladder)):
        yield "ladder: quality and keep must rise from step to step"


def check_tokenizer(config: TokenizerConfig, where: str) -> None:
    """Check that the networks can be built. Raises ModelError naming `where` and the key."""
    check_quantizer(config, where)
    if isinstance(config.quantizer, UniformConfig) != isinstance(config.backbone, WaveletConfig):
        raise ModelError(f"{where}: a uniform quantizer and a wavelet backbone go together, neither with another kind")
    for problem in backbone_problems(config.backbone, config.stride, config.quantizer.channels, config.window):
        raise ModelError(f"{where}{problem}")
    for problem in _compute_problems(config):
        raise ModelError(f"{where}{problem}")


def _compute_problems(config: TokenizerConfig) -> Iterator[str]:
    """Compute windows need a backbone that accepts any size and sees the whole picture, and tokens in one grid."""
    window, overlap, stride = config.compute_window, config.compute_overlap, config.stride
    if window and (config.window_px or config.backbone.kind not in GLOBAL):
        yield ".compute_window: 0 needed; only backbones dcae and vqgan without windows can have one"
    if window % stride:
        yield f".compute_window: multiples of {stride} needed, or 0"
    if 2 * overlap > window or overlap % stride:
        yield f".compute_overlap: multiples of {stride}, at most half of the compute window"


def check_quantizer(config: TokenizerConfig, where: str) -> None:
    """Check quantizer and windows. Raises ModelError naming `where` and the key."""
    for problem in config.quantizer.problems():
        raise ModelError(f"{where}.quantizer.{problem}")
    for problem in _window_problems(config):
        raise ModelError(f"{where}{problem}")


def _window_problems(config: TokenizerConfig) -> Iterator[str]:
    quantizer, window, fixed = config.quantizer, config.window_px, config.backbone.input_px
    tokens, segments = math.prod(config.window_grid), quantizer.segment_count
    if fixed and config.window not in (0, fixed):
        yield f".window: the backbone accepts {fixed} px only"
    if window and isinstance(quantizer, UniformConfig):
        yield ".window: 0 needed with a uniform quantizer"
    if window % config.stride:
        yield f".window: multiples of {config.stride} needed"
    if 2 * config.overlap > window:
        yield ".overlap: at most half of the window"
    if not window and not quantizer.local:
        yield ".window: needed, since an index of this quantizer describes more than its own position"
    if window and tokens % segments:
        yield f".quantizer: {segments} segments do not divide the {tokens} tokens of a window"
