"""Loading and writing of model folders: weights, entropy model and networks.

A loaded `Model` is shared by all calls of the codec; copies.py gives callers networks of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs, to_builtins

from ..config.model import ModelConfig, TokenizerConfig
from ..config.quantizers import ProductVQConfig, QuantizerConfig, UniformConfig
from ..config.reading import read
from ..entropy.adaptive_tables import AdaptiveTables
from ..entropy.context_model import ContextModel
from ..entropy.scalar_context import ScalarContext
from ..errors import ModelError
from ..planes import Layers
from ..quantizers.product_arrays import ProductArrays, arrays_from_tensors
from ..runtime.forking import ForkLock
from ..runtime.progress import Part, working
from ..runtime.torch_state import codec_modes
from .identity import CODEBOOKS, REFINEMENTS, token_identity
from .registry import CONFIG, WEIGHTS, Entry, find, name_or_default, read_config
from .tensor_names import file_name, state_name
from .weights_int8 import unpack

if TYPE_CHECKING:  # torch and the networks are imported when a tokenizer is built
    from ..entropy.interface import EntropyModel
    from ..tokenizer import Tokenizer

LAMBDA_WEIGHTS = file_name("quantizer.lambda_weights")
ENTROPY = ("entropy.", "prior.", "scalar.")
"""Prefixes of the names of an entropy model's tensors."""


class Model:
    """A loaded model. The entropy model needs no torch; the tokenizer is built when it is first asked for."""

    def __init__(self, entry: Entry, device: str = "cpu") -> None:
        self.entry, self.config, self.device = entry, entry.config, device
        self.tensors = read_tensors(entry.folder / WEIGHTS, self.config.weights_sha256)
        self.entropy: EntropyModel = _entropy_model(entry, self.tensors)
        self.built_tokenizer: Tokenizer | None = None
        """Networks; None until `tokenizer` is first accessed."""
        self._product: ProductArrays | None = None
        _check_identity(entry, self.tensors, self.entropy)

    @property
    def layers(self) -> Layers:
        """Planes of each layer, coarse to fine."""
        return self.config.layers

    @property
    def stride(self) -> int:
        """Pixels per latent step."""
        return self.config.tokenizer.stride

    @property
    def product(self) -> ProductArrays:
        """Codebooks of a product quantizer as arrays, built at the first access. Raises TypeError for other models."""
        quantizer = self.config.tokenizer.quantizer
        if not isinstance(quantizer, ProductVQConfig):
            raise TypeError(f"a product quantizer is needed, found {quantizer.kind}")
        with _loading:
            if self._product is None:
                self._product = arrays_from_tensors(quantizer, self.tensors)
            return self._product

    @property
    def tokenizer(self) -> Tokenizer:
        """Networks in evaluation mode, float32, built at the first access. Raises ModelError for wrong tensors."""
        with _loading:
            if self.built_tokenizer is None:
                # Weights created in inference mode never take part in a gradient.
                with working(Part.MODEL), codec_modes(self.device):
                    self.built_tokenizer = _build_tokenizer(
                        self.config.tokenizer, self.tensors, self.entry.folder, self.device
                    )
            return self.built_tokenizer

    def copied(self) -> Model:
        """Copy with tensors and networks of its own; the entropy model is shared."""
        other = copy(self)
        other.tensors = {name: value.copy() for name, value in self.tensors.items()}
        other.built_tokenizer = None
        return other


_loading = ForkLock()
"""Held while a model is loaded, so that threads which start together load it once."""


@lru_cache(maxsize=4)
def _load(folder: str, device: str, _changed: int) -> Model:
    return Model(Entry(Path(folder), read_config(Path(folder)), False), device)


def load(entry: Entry, device: str = "cpu") -> Model:
    """Load the model of `entry`, or return the one kept in memory by an earlier call. Raises ModelError."""
    try:
        changed = (entry.folder / WEIGHTS).stat().st_mtime_ns
    except OSError as error:
        raise ModelError(f"{entry.folder / WEIGHTS}: {error.strerror}; the model is incomplete") from error
    with _loading, working(Part.MODEL):
        return _load(str(entry.folder), device, changed)


def load_model(name: str | None = None, device: str = "cpu") -> Model:
    """Load the model called `name`, or in the folder `name`; None: the default model.

    Its networks are shared by all calls of the codec. Raises ModelError.
    """
    return load(find(name_or_default(name)), device)


def read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Tensors of model.safetensors, 8-bit weights unpacked; `sha256` is that of config.json."""
    from safetensors.numpy import load as parse

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; the model is incomplete") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(f"{path}: SHA-256 is {found[:12]}…, config.json says {sha256[:12]}…; get the model again")
    try:
        tensors = parse(data)
    except Exception as error:  # the library raises its own and built-in kinds
        raise ModelError(f"{path}: not a safetensors file: {error}") from error
    try:
        return unpack(tensors)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def _entropy_model(entry: Entry, tensors: dict[str, np.ndarray]) -> EntropyModel:
    """Entropy model of a folder; its tensors are removed from `tensors`."""
    try:
        return entropy_from_tensors(
            entry.config.tokenizer.quantizer,
            {name: tensors.pop(name) for name in list(tensors) if name.startswith(ENTROPY)},
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{entry.folder / WEIGHTS}: entropy model: {error}") from error


def entropy_from_tensors(quantizer: QuantizerConfig, tensors: Mapping[str, np.ndarray]) -> EntropyModel:
    """Build the entropy model of a quantizer from the tensors whose names start with ENTROPY.

    A uniform quantizer has the context model of scalar planes. Any other has the context model if there are `prior.*`
    tensors, else adaptive tables, which start from `entropy.tables.*` if there are any.
    Raises ValueError, TypeError or KeyError for tensors of wrong names, shapes or values.
    """
    if isinstance(quantizer, UniformConfig):
        return ScalarContext(quantizer.levels, tensors)  # type: ignore[return-value]
    sizes = quantizer.sizes
    if any(name.startswith("prior.") for name in tensors):
        return ContextModel(sizes, tensors)
    if any(name.startswith("entropy.tables.") for name in tensors):
        return AdaptiveTables(sizes, [tensors[f"entropy.tables.{s}"] for s in range(len(sizes))])
    return AdaptiveTables(sizes)


def _check_identity(entry: Entry, tensors: dict[str, np.ndarray], entropy: EntropyModel) -> None:
    """Raise ModelError for tensors that are missing or not finite, or that give other identities than config.json."""
    if isinstance(quantizer := entry.config.tokenizer.quantizer, ProductVQConfig):
        for name in (CODEBOOKS, REFINEMENTS)[: 1 + bool(quantizer.refinements)]:
            if name not in tensors:
                raise ModelError(f"{entry.folder / WEIGHTS}: holds no codebooks, '{name}' is missing")
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{entry.folder / WEIGHTS}: tensor '{name}' holds values that are not finite")
    found = (token_identity(entry.config, tensors).hex(), entropy.identity().hex())
    stored = (entry.config.token_id, entry.config.entropy_id)
    if found != stored:
        raise ModelError(f"{entry.folder}: identity is {'/'.join(found)}, config.json has {'/'.join(stored)}")


def _build_tokenizer(config: TokenizerConfig, tensors: dict[str, np.ndarray], folder: Path, device: str) -> Tokenizer:
    """Build the networks and give them the tensors of a folder. Raises ModelError for wrong names, shapes, values."""
    import torch

    from ..tokenizer import NO_RATE, Tokenizer, training_only

    with torch.device("meta"):
        tokenizer = Tokenizer(config)
    state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
    expected = {file_name(k): v for k, v in tokenizer.state_dict().items() if not training_only(k)}
    for name, value_without in NO_RATE.items():
        if (key := file_name(name)) in expected:
            state.setdefault(key, torch.full(expected[key].shape, value_without))
    for name, value in expected.items():
        if name not in state:
            raise ModelError(f"{folder / WEIGHTS}: tensor '{name}' is missing")
        if state[name].shape != value.shape:
            shapes = f"{list(state[name].shape)}, not {list(value.shape)}"
            raise ModelError(f"{folder / WEIGHTS}: tensor '{name}' is {shapes}")
    if (weights := state.get(LAMBDA_WEIGHTS)) is not None and not ((weights > 0).all() or (weights == 0).all()):
        raise ModelError(f"{folder / WEIGHTS}: tensor '{LAMBDA_WEIGHTS}' must be above 0, or 0 in all planes")
    if extra := sorted(set(state) - set(expected)):
        raise ModelError(f"{folder / WEIGHTS}: unknown tensor '{extra[0]}'")
    for name, value in tokenizer.state_dict().items():
        if training_only(name):
            state[name] = torch.zeros(value.shape)
    tokenizer.load_state_dict({state_name(name): value for name, value in state.items()}, assign=True)
    return tokenizer.eval().requires_grad_(False).to(device)


def write_model(folder: Path, config: ModelConfig, tensors: dict[str, np.ndarray]) -> ModelConfig:
    """Write a model folder, config.json last. Returns `config` with identities and SHA-256 filled in.

    `tensors` have the names of a state dict or of model.safetensors. Raises ModelError for a configuration that
    `read_config` would refuse.
    """
    from safetensors.numpy import save

    read(ModelConfig, to_builtins(config), config.name)  # ranges are checked where settings are read

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {file_name(name): value for name, value in tensors.items()}
    data = save(tensors)
    entropy = {name: value for name, value in tensors.items() if name.startswith(ENTROPY)}
    config = structs.replace(
        config,
        token_id=token_identity(config, unpack(tensors)).hex(),
        entropy_id=entropy_from_tensors(config.tokenizer.quantizer, entropy).identity().hex(),
        weights_sha256=hashlib.sha256(data).hexdigest(),
    )
    (folder / WEIGHTS).write_bytes(data)
    (folder / CONFIG).write_text(json.dumps(to_builtins(config), indent=1) + "\n", encoding="utf-8")
    return config
