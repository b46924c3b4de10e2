"""What a model is made of, as frozen dataclasses; a key that is not known is an error.

A model's `config.json` holds one `ModelConfig`. The part of it that gives index planes their meaning
(`token_space`) is hashed into the file format; the rest (names, ladders, backbone widths) may change freely.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import ModelError

T = TypeVar("T")

MISSING = -1
"""The index of a sub-token that is not there: masked, not kept, or cut off."""


@dataclass(frozen=True)
class ConvConfig:
    """The convolutional backbone: stage i works at stride 8 * 2**i."""

    widths: tuple[int, ...]
    """Channels of each stage, finest first; as many stages as the stride needs."""
    encoder_depths: tuple[int, ...]
    """Residual blocks of each encoder stage."""
    decoder_depths: tuple[int, ...]
    """Residual blocks of each decoder stage, in the order of `widths`."""
    kind: str = "conv"


@dataclass(frozen=True)
class ProductVQConfig:
    """G groups of the latent channels, each with its own codebook [K, d]."""

    groups: int
    codebook_size: int
    dim: int
    kind: str = "product-vq"


@dataclass(frozen=True)
class TokenizerConfig:
    """Encoder + quantizer + decoder."""

    stride: int
    """Pixels per latent step."""
    backbone: ConvConfig
    quantizer: ProductVQConfig


@dataclass(frozen=True)
class LadderStep:
    """From `quality` (1..100) on, keep the first `keep` layers."""

    quality: int
    keep: int


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

    def token_space(self) -> dict[str, Any]:
        """What an index means, and nothing else: the part that file compatibility rests on."""
        quantizer = dataclasses.asdict(self.tokenizer.quantizer)
        return {"stride": self.tokenizer.stride, "quantizer": quantizer, "layers": [list(x) for x in self.layers]}


def check_model(config: ModelConfig, where: str) -> None:
    """Refuse a configuration that the codec cannot run. Raises ModelError naming `where` and the key."""
    backbone, quantizer = config.tokenizer.backbone, config.tokenizer.quantizer
    stages = len(backbone.widths)
    planes = [plane for layer in config.layers for plane in layer]
    numbers = (*backbone.widths, quantizer.groups, quantizer.codebook_size, quantizer.dim)
    for wrong, problem in (
        (config.format_version != 1, f"format_version {config.format_version} is not known; a newer vqcodec made it"),
        (backbone.kind != "conv", f"tokenizer.backbone.kind '{backbone.kind}' is not known"),
        (quantizer.kind != "product-vq", f"tokenizer.quantizer.kind '{quantizer.kind}' is not known"),
        (
            stages == 0 or config.tokenizer.stride != 8 * 2 ** (stages - 1),
            "tokenizer.stride must be 8 * 2^(widths - 1)",
        ),
        (len(backbone.encoder_depths) != stages, "tokenizer.backbone.encoder_depths: one for each width needed"),
        (len(backbone.decoder_depths) != stages, "tokenizer.backbone.decoder_depths: one for each width needed"),
        (min(numbers) < 1, "tokenizer: widths, groups, codebook_size and dim must be at least 1"),
        (min((*backbone.encoder_depths, *backbone.decoder_depths), default=0) < 0, "depths must be at least 0"),
        (not 1 <= len(config.layers) <= 16, f"layers: {len(config.layers)} of them; a file can hold 1..16"),
        (
            planes != list(range(quantizer.groups)),
            f"layers must hold the {quantizer.groups} planes once each, in order",
        ),
        (any(not 1 <= step.keep <= len(config.layers) for step in config.ladder), "ladder: keep beyond the layers"),
    ):
        if wrong:
            raise ModelError(f"{where}: {problem}")


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
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return _convert(next(option for option in options if option is not type(None)), value, where)
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
