"""Registry of models: names and identities -> model folders.

A model folder holds config.json, model.safetensors and the model card README.md. Folders are looked up in the package
and in the cache folder ($VQCODEC_MODELS, else ~/.cache/vqcodec/models); the path of a model folder works as a name.
Only config.json is read here, without torch and numpy; see loading.py for weights.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..config.model import ModelConfig, check_model
from ..config.reading import read
from ..errors import ModelError, did_you_mean
from .retired import RETIRED

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MAX_CONFIG_BYTES = 2**22
"""Largest accepted config.json."""
BUNDLED = Path(__file__).parent
DEFAULT_MODEL = "photo"
"""Name of the bundled model, which is used where no model is named."""


@dataclass(frozen=True)
class Entry:
    """An installed model: its folder and configuration."""

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
    """Folder of the models that are not bundled."""
    if own := os.environ.get("VQCODEC_MODELS"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqcodec" / "models"


def survey() -> tuple[list[Entry], list[Broken]]:
    """Installed models and broken model folders, bundled ones first, sorted by folder."""
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
    """Installed models; broken folders are left out."""
    return survey()[0]


def read_config(folder: Path) -> ModelConfig:
    """Read and check the configuration in `folder`. Raises ModelError."""
    path = folder / CONFIG
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: over {MAX_CONFIG_BYTES:,} characters; not the configuration of a model")
        data = json.loads(text)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; not a model folder") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    config = read(ModelConfig, data, str(path))
    check_model(config, str(path))
    return config


def name_or_default(name: str | None) -> str:
    """`name`, or DEFAULT_MODEL for None; an empty name is kept, and `find` refuses it."""
    return DEFAULT_MODEL if name is None else name


def find(name: str) -> Entry:
    """Look up the model called `name`, or in the folder `name`. Raises ModelError with the installed names."""
    if not name:
        raise ModelError("the name of the model is empty (see `vqcodec models list`)")
    found, broken = survey()
    for entry in found:
        if entry.config.name == name:
            return entry
    folder = Path(name)
    if os.path.isfile(folder / CONFIG):  # False, too, for a name that no file system accepts
        return Entry(folder, read_config(folder), False)
    for bad in broken:
        if bad.folder.name == name:
            raise ModelError(f"model '{name}': broken: {bad.reason}")
    known = [entry.config.name for entry in found]
    hint = "see `vqcodec models list`, or give a model folder"
    near = did_you_mean(name, known)
    raise ModelError(f"model '{name}': not found{near}; installed: {', '.join(known) or 'none'} ({hint})")


def name_of(entry: Entry) -> str:
    """Argument with which `find` returns `entry`: its name, or its folder if another model has that name."""
    try:
        same = find(entry.config.name).folder == entry.folder
    except ModelError:
        same = False
    return entry.config.name if same else str(entry.folder)


def find_by_id(token_id: bytes, entropy_id: bytes) -> Entry:
    """Look up the model of a file by its two identities. Raises ModelError if it is not installed."""
    found, broken = survey()
    for entry in found:
        if entry.config.token_id == token_id.hex() and entry.config.entropy_id == entropy_id.hex():
            return entry
    wanted = f"{token_id.hex()}/{entropy_id.hex()}"
    hint = f" ({len(broken)} broken there or bundled: see `vqcodec models list`)" if broken else ""
    if wanted in RETIRED:
        name, version, loads = RETIRED[wanted]
        folder = f", or put its folder into {cache_folder()}{hint}" if loads else ""
        raise ModelError(
            f"model {wanted}: '{name}' of vqcodec {version}, not part of this version; decode with vqcodec {version}"
            f"{folder}"
        )
    if same := next((entry.config.name for entry in found if entry.config.token_id == token_id.hex()), None):
        raise ModelError(
            f"model {wanted}: not installed; '{same}' has these tokens with another entropy model: decode with the "
            f"version of vqcodec that made the file, or put its model's folder into {cache_folder()}{hint}"
        )
    raise ModelError(f"model {wanted}: not installed; put its folder into {cache_folder()} and try again{hint}")
