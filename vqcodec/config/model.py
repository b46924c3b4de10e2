"""What a model is made of, as frozen dataclasses; a key that is not known is an error.

A model's `config.json` holds one `ModelConfig`. The settings that give index planes their meaning are part of the
model's identity, see models/identity.py; the rest (names, ladders, backbone widths) may change freely.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ..errors import ModelError
from .backbones import GLOBAL, BackboneConfig, backbone_problems
from .backbones import ConvConfig as ConvConfig
from .backbones import DcaeConfig as DcaeConfig
from .backbones import FoldedConfig as FoldedConfig
from .quantizers import ProductVQConfig as ProductVQConfig
from .quantizers import QuantizerConfig, mixtures_of
from .quantizers import UniformConfig as UniformConfig

T = TypeVar("T")

MAX_WINDOW = 2**15
MAX_COMPUTE_WINDOW = 2**11


@dataclass(frozen=True)
class TokenizerConfig:
    """Encoder + quantizer + decoder."""

    stride: int
    """Pixels per latent step."""
    backbone: BackboneConfig
    quantizer: QuantizerConfig
    window: int = 0
    """Side in px of the squares that are tokenized each on its own, for tokens that stand for more than their place;
    see `side`."""
    overlap: int = 0
    """How far neighbouring windows overlap, px, at most half of them; their pixels are blended there."""
    compute_window: int = 0
    """Largest side in px of what a network with attention or normalisation over the whole picture sees at once, for
    pictures of more pixels than its square; 0: such a network sees every picture whole, of up to 2048 x 2048 px.
    The tokens of a picture are one grid all the same, and files are no different."""
    compute_overlap: int = 0
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


@dataclass(frozen=True)
class LadderStep:
    """From `quality` (1..100) on, keep the first `keep` layers of tokens that were chosen at `rate`.

    Quality is one scale for models that stand in for each other: the first step of a model is where its part begins.
    """

    quality: int
    keep: int
    rate: float = 1.0
    """How much bits count when codewords are chosen, 0 for the nearest; no effect on models trained without a rate."""


@dataclass(frozen=True)
class ModelConfig:
    """One shipped model: `config.json` beside its `model.safetensors`."""

    name: str
    tokenizer: TokenizerConfig
    token_id: str
    """Identity of the token space, 12 hexadecimal digits."""
    entropy_id: str
    """Identity of the entropy model, 8 hexadecimal digits."""
    weights_sha256: str
    """SHA-256 of model.safetensors."""
    layers: tuple[tuple[int, ...], ...]
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
        (not 1 <= len(config.layers) <= 16, f"layers: {len(config.layers)} of them; a file can hold 1..16"),
        (planes != list(range(n_planes)), f"layers must hold the {n_planes} planes once each, in order"),
        (
            isinstance(config.tokenizer.quantizer, UniformConfig)
            and config.layers != config.tokenizer.quantizer.layers,
            "layers: those of a uniform quantizer are its widths",
        ),
        (any(not 0 <= step.rate < 1e6 for step in config.ladder), "ladder: rate must be at least 0"),
        (any(not 1 <= step.keep <= len(config.layers) for step in config.ladder), "ladder: keep beyond the layers"),
        (any(not 1 <= step.quality <= 100 for step in config.ladder), "ladder: quality beyond 1..100"),
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
    if side < 0 or side % stride or side > MAX_COMPUTE_WINDOW:
        yield f".compute_window: multiples of {stride} up to {MAX_COMPUTE_WINDOW}, or 0"
    if not 0 <= 2 * overlap <= side or overlap % stride:
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
        (side < 0 or side % config.stride or side > MAX_WINDOW, f".window: multiples of {config.stride} up to 32768"),
        (not 0 <= 2 * config.overlap <= side, ".overlap: at least 0, at most half of the window"),
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


def from_dict(cls: type[T], data: Any, where: str = "config") -> T:
    """Build dataclass `cls` from parsed JSON or TOML.

    Raises ModelError naming the place for an unknown key (with the nearest known one), a missing key or a wrong type.
    """
    if not isinstance(data, dict):
        raise ModelError(f"{where}: a table of settings is needed, found {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ModelError(f"{where}: unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    for name, f in known.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ModelError(f"{where}: key '{name}' is missing")
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in data.items()})


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ModelError(f"{where}: {value!r} is not one of {', '.join(typing.get_args(kind))}")
        return value
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if value is None and len(options) < len(typing.get_args(kind)):
            return None
        return _convert(_by_kind(options, value, where) if len(options) > 1 else options[0], value, where)
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ModelError(f"{where}: a list is needed, found {type(value).__name__}")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if origin is dict or kind is dict:
        if not isinstance(value, dict):
            raise ModelError(f"{where}: a table is needed, found {type(value).__name__}")
        return dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ModelError(f"{where}: {kind.__name__} needed, found {value!r}")
    return value


def _by_kind(options: list[Any], value: Any, where: str) -> Any:
    """The dataclass that key `kind` of `value` names; without one, the first."""
    if not isinstance(value, dict) or "kind" not in value:
        return options[0]
    for option in options:
        if option.kind == value["kind"]:
            return option
    known = ", ".join(option.kind for option in options)
    raise ModelError(f"{where}.kind: {value['kind']!r} is not one of {known}")
