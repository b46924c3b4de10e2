"""Model names and identities -> folders: config.json, model.safetensors and the card README.md.

Models are looked up in the package and in a cache folder ($VQCODEC_MODELS, else ~/.cache/vqcodec/models); a path to a
model folder works as a name too. Listing and looking up read config.json alone: no torch, no weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.model import ModelConfig, ProductVQConfig, TokenizerConfig, UniformConfig, check_model, from_dict
from ..config.quantizers import QuantizerConfig
from ..errors import ModelError
from ..runtime.forking import ForkLock
from ..runtime.torch_state import codec_modes

if TYPE_CHECKING:  # numpy and the entropy coder are imported where weights are read: `info` does without
    import numpy as np

    from ..entropy.tiles import EntropyModel
    from ..tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CODEBOOKS = "quantizer.bank.codebooks"
REFINEMENTS = "quantizer.refinements.codebooks"
ENTROPY = ("entropy.", "prior.", "scalar.")
"""Prefixes of the names of an entropy model's tensors."""
BUNDLED = Path(__file__).parent
FAMILY = ("photo", "photo-hq")
"""The bundled models that stand in for each other, smallest files first: who names no model gets one of them."""

RETIRED: dict[str, str] = {}
"""Token identity -> the last release that reads files made with it."""


@dataclass(frozen=True)
class Entry:
    """A model that can be had: its folder and configuration."""

    folder: Path
    config: ModelConfig
    bundled: bool


@dataclass(frozen=True)
class Broken:
    """A model folder whose configuration cannot be used."""

    folder: Path
    reason: str
    bundled: bool


def cache_folder() -> Path:
    """Where models that are not bundled live."""
    if own := os.environ.get("VQCODEC_MODELS"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqcodec" / "models"


def survey() -> tuple[list[Entry], list[Broken]]:
    """All models at hand, and the folders that should be models: bundled ones first, by folder."""
    found: list[Entry] = []
    broken: list[Broken] = []
    for base, bundled in ((BUNDLED, True), (cache_folder(), False)):
        for path in sorted(base.glob(f"*/{CONFIG}")):
            try:
                found.append(Entry(path.parent, read_config(path.parent), bundled))
            except ModelError as error:
                broken.append(Broken(path.parent, str(error), bundled))
    return found, broken


def entries() -> list[Entry]:
    """All models at hand; a broken folder takes none of the others away."""
    return survey()[0]


def read_config(folder: Path) -> ModelConfig:
    """The configuration in `folder`. Raises ModelError."""
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; not a model folder") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    config = from_dict(ModelConfig, data, str(path))
    check_model(config, str(path))
    return config


def find(name: str) -> Entry:
    """The model called `name`, or in the folder `name`. Raises ModelError naming those at hand."""
    if not name:
        raise ModelError("the name of the model is empty (see `vqcodec models list`)")
    found, broken = survey()
    for entry in found:
        if entry.config.name == name:
            return entry
    folder = Path(name)
    if os.path.isfile(folder / CONFIG):  # False, too, for a name that no file system takes
        return Entry(folder, read_config(folder), False)
    for bad in broken:
        if bad.folder.name == name:
            raise ModelError(f"model '{name}': broken: {bad.reason}")
    names = ", ".join(entry.config.name for entry in found) or "none"
    raise ModelError(f"model '{name}': not found; at hand: {names} (see `vqcodec models list`), or give a model folder")


def family(found: Sequence[Entry]) -> dict[str, ModelConfig]:
    """Name -> configuration of those of FAMILY that are among `found`, smallest files first."""
    first = {entry.config.name: entry.config for entry in reversed(found)}
    return {name: first[name] for name in FAMILY if name in first}


def candidates(model: str | None = None) -> dict[str, ModelConfig]:
    """Name -> configuration of what can make a file: `model` alone, or without one the family, as far as at hand.

    Raises ModelError if there is none, or if one of the family is broken.
    """
    if model is not None:
        return {model: find(model).config}
    found, broken = survey()
    chosen = family(found)
    for bad in broken:
        if bad.folder.name in FAMILY and bad.folder.name not in chosen:
            raise ModelError(f"model '{bad.folder.name}': broken: {bad.reason}; name another one to do without it")
    if not chosen:
        raise ModelError(f"none of {', '.join(FAMILY)} is at hand: name a model (see `vqcodec models list`)")
    return chosen


def name_of(entry: Entry) -> str:
    """What `find` needs to come back to `entry`: its name, or its folder if another model has that name."""
    try:
        same = find(entry.config.name).folder == entry.folder
    except ModelError:
        same = False
    return entry.config.name if same else str(entry.folder)


def find_by_id(token_id: bytes, entropy_id: bytes) -> Entry:
    """The model a file was made with. Raises ModelError if it is not at hand."""
    found, broken = survey()
    for entry in found:
        if entry.config.token_id == token_id.hex() and entry.config.entropy_id == entropy_id.hex():
            return entry
    wanted = f"{token_id.hex()}/{entropy_id.hex()}"
    if token_id.hex() in RETIRED:
        raise ModelError(f"model {wanted}: retired; vqcodec {RETIRED[token_id.hex()]} reads this file")
    hint = f" ({len(broken)} broken there or bundled: see `vqcodec models list`)" if broken else ""
    raise ModelError(f"model {wanted}: not at hand; put its folder into {cache_folder()} and try again{hint}")


class Model:
    """A loaded model. The entropy model needs no torch; the tokenizer is built when it is first asked for."""

    def __init__(self, entry: Entry, device: str = "cpu") -> None:
        self.entry, self.config, self.device = entry, entry.config, device
        self.tensors = _read_tensors(entry.folder / WEIGHTS, self.config.weights_sha256)
        self.entropy: EntropyModel = _entropy_model(entry, self.tensors)
        self._tokenizer: Tokenizer | None = None
        _check_identity(entry, self.tensors, self.entropy)

    @property
    def layers(self) -> tuple[tuple[int, ...], ...]:
        """Planes of each layer, coarse to fine."""
        return self.config.layers

    @property
    def stride(self) -> int:
        """Pixels per latent step."""
        return self.config.tokenizer.stride

    @property
    def tokenizer(self) -> Tokenizer:
        """The networks, in evaluation mode, float32."""
        with _loading:
            if self._tokenizer is None:
                with codec_modes(self.device):  # weights that are made in inference mode never take part in a gradient
                    self._tokenizer = _build_tokenizer(
                        self.config.tokenizer, self.tensors, self.entry.folder, self.device
                    )
            return self._tokenizer

    def copied(self) -> Model:
        """The same model with tensors and networks of its own; the entropy model is shared."""
        other = copy(self)
        other.tensors = {name: value.copy() for name, value in self.tensors.items()}
        other._tokenizer = None
        return other


_loading = ForkLock()
"""Threads that begin together load a model once."""


@lru_cache(maxsize=4)
def _load(folder: str, device: str, _changed: int) -> Model:
    return Model(Entry(Path(folder), read_config(Path(folder)), False), device)


def load(entry: Entry, device: str = "cpu") -> Model:
    """The model of `entry`, kept in memory for the next call. Raises ModelError if it is damaged."""
    try:
        changed = (entry.folder / WEIGHTS).stat().st_mtime_ns
    except OSError as error:
        raise ModelError(f"{entry.folder / WEIGHTS}: {error.strerror}; the model is incomplete") from error
    with _loading:
        return _load(str(entry.folder), device, changed)


def load_model(name: str | None = None, device: str = "cpu") -> Model:
    """The codec's own model called `name`, or in the folder `name`; without one the first of the family.

    Its networks are shared by all calls: see model_copies.py for callers of the library. Raises ModelError.
    """
    return load(find(next(iter(candidates())) if name is None else name), device)


def token_identity(config: ModelConfig, tensors: dict[str, np.ndarray]) -> bytes:
    """6 bytes of SHA-256 over what an index means: the canonical token space and the tensors it rests on.

    Raises KeyError if codebooks are missing.
    """
    canonical = json.dumps(config.token_space(), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode())
    if isinstance(config.tokenizer.quantizer, ProductVQConfig):
        names = {CODEBOOKS: ""}
        if config.tokenizer.quantizer.refinements:
            names[REFINEMENTS] = REFINEMENTS
    else:
        names = {name: name for name in meaning_tensors(tensors)}
    for name, told in names.items():
        values = tensors[name].astype("<f4", order="C")
        digest.update(told.encode() + str(values.shape).encode() + values.tobytes())
    return digest.digest()[:6]


def meaning_tensors(tensors: dict[str, np.ndarray]) -> list[str]:
    """Names of the tensors that give indices their meaning, sorted: what dequantization reads.

    A quantizer without any, whose codewords are signs or levels, leaves the meaning to the encoder alone.
    """
    of_quantizer = [name for name in tensors if name.startswith("quantizer.") and ".sharpness." not in name]
    return sorted(of_quantizer or [name for name in tensors if name.startswith("encoder.")])


def _read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load as parse

    from .weights_int8 import unpack

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
    """The entropy model of a folder; its tensors are taken out of `tensors`."""
    try:
        return entropy_from_tensors(
            entry.config.tokenizer.quantizer,
            {name: tensors.pop(name) for name in list(tensors) if name.startswith(ENTROPY)},
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{entry.folder / WEIGHTS}: entropy model: {error}") from error


def entropy_from_tensors(quantizer: QuantizerConfig, tensors: dict[str, np.ndarray]) -> EntropyModel:
    """The model of scalar planes for a uniform quantizer, the context model if there are `prior.*` tensors, else
    adaptive tables, prepared ones if there are any.

    Raises ValueError or KeyError for tensors that cannot be one.
    """
    from ..entropy.adaptive_tables import AdaptiveTables
    from ..entropy.context_model import ContextModel
    from ..entropy.scalar_context import ScalarContext

    if isinstance(quantizer, UniformConfig):
        return ScalarContext(quantizer.widths, tensors, quantizer.lifted)  # type: ignore[return-value]
    sizes = quantizer.sizes
    if any(name.startswith("prior.") for name in tensors):
        return ContextModel(sizes, tensors)
    if any(name.startswith("entropy.tables.") for name in tensors):
        return AdaptiveTables(sizes, [tensors[f"entropy.tables.{s}"] for s in range(len(sizes))])
    return AdaptiveTables(sizes)


def _check_identity(entry: Entry, tensors: dict[str, np.ndarray], entropy: EntropyModel) -> None:
    import numpy as np

    if isinstance(quantizer := entry.config.tokenizer.quantizer, ProductVQConfig):
        for name in (CODEBOOKS, REFINEMENTS)[: 1 + bool(quantizer.refinements)]:
            if name not in tensors:
                raise ModelError(f"{entry.folder / WEIGHTS}: holds no codebooks, '{name}' is missing")
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{entry.folder / WEIGHTS}: tensor '{name}' holds values that are not finite")
    found = (token_identity(entry.config, tensors).hex(), entropy.identity().hex())
    said = (entry.config.token_id, entry.config.entropy_id)
    if found != said:
        raise ModelError(f"{entry.folder}: identity is {'/'.join(found)}, config.json says {'/'.join(said)}")


def _build_tokenizer(config: TokenizerConfig, tensors: dict[str, np.ndarray], folder: Path, device: str) -> Tokenizer:
    import numpy as np
    import torch

    from ..quantizers.product import NO_CAP
    from ..tokenizer import CAPS, COSTS, PRICES, Tokenizer, training_only

    with torch.device("meta"):
        tokenizer = Tokenizer(config)
    state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
    expected: dict[str, Any] = {k: v for k, v in tokenizer.state_dict().items() if not training_only(k)}
    # A model that was trained without a rate holds none of these.
    for key, value_without in ((COSTS, 0.0), (CAPS, NO_CAP), (PRICES, 0.0)):
        if key in expected:
            state.setdefault(key, torch.full(expected[key].shape, value_without))
    for name, value in expected.items():
        if name not in state:
            raise ModelError(f"{folder / WEIGHTS}: tensor '{name}' is missing")
        if state[name].shape != value.shape:
            shapes = f"{list(state[name].shape)}, not {list(value.shape)}"
            raise ModelError(f"{folder / WEIGHTS}: tensor '{name}' is {shapes}")
    if PRICES in expected and ((state[PRICES] < 0).any() or 0 < int((state[PRICES] > 0).sum()) < len(state[PRICES])):
        raise ModelError(f"{folder / WEIGHTS}: tensor '{PRICES}' must be above 0, or 0 in all planes")
    if extra := sorted(set(state) - set(expected)):
        raise ModelError(f"{folder / WEIGHTS}: unknown tensor '{extra[0]}'")
    for name, value in tokenizer.state_dict().items():
        if training_only(name):
            state[name] = torch.zeros(value.shape)
    tokenizer.load_state_dict(state, assign=True)
    return tokenizer.eval().requires_grad_(False).to(device)


def write_model(folder: Path, config: ModelConfig, tensors: dict[str, np.ndarray]) -> ModelConfig:
    """Write a model folder, config.json last; returns `config` with its identities and digests filled in."""
    from safetensors.numpy import save

    from .weights_int8 import unpack

    folder.mkdir(parents=True, exist_ok=True)
    data = save(tensors)
    entropy = {name: value for name, value in tensors.items() if name.startswith(ENTROPY)}
    config = dataclasses.replace(
        config,
        token_id=token_identity(config, unpack(tensors)).hex(),
        entropy_id=entropy_from_tensors(config.tokenizer.quantizer, entropy).identity().hex(),
        weights_sha256=hashlib.sha256(data).hexdigest(),
    )
    (folder / WEIGHTS).write_bytes(data)
    (folder / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n", encoding="utf-8")
    return config
