"""A configuration file for checkpoints of the four systems whose sizes are not those of a release.

[tokenizer]                     the whole of it, beside the name of a family: as in a recipe and in config.json
stride = 16
...
or what differs from a release, beside the name of that
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from ..config.model import TokenizerConfig, check_tokenizer
from ..config.reading import read
from ..errors import InputError, ModelError, UsageError
from .release import SYSTEMS, System, find_release


def find_configured(name: str, path: Path) -> tuple[System, TokenizerConfig]:
    """The system of the family or release `name`, and the tokenizer that the TOML file at `path` describes.

    Raises InputError if the file cannot be read, UsageError for an unknown name and for a key that is unknown, missing
    or has a wrong value.
    """
    tree = _read(path)
    systems = {system.family: system for system in SYSTEMS}
    if name in systems:
        system = systems[name]
    else:
        system, base = find_release(name)
        tree = _merged(to_builtins(base), tree)
    try:
        config = read(TokenizerConfig, tree, f"{path}: tokenizer")
        check_tokenizer(config, f"{path}: tokenizer")
    except ModelError as error:
        raise UsageError(str(error)) from error
    return system, config


def _read(path: Path) -> dict[str, Any]:
    """The table [tokenizer] of a TOML file, which has no other."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error
    others = sorted(set(tree) - {"tokenizer"})
    if others:
        raise UsageError(f"{path}: only the table [tokenizer] is read; remove {', '.join(others)}")
    if not isinstance(tree.get("tokenizer"), dict):
        raise UsageError(f"{path}: a table [tokenizer] is needed, as in a recipe")
    return dict(tree["tokenizer"])


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Tables of another kind of network or quantizer replace those of the release, others change them."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("kind", old["kind"]) == old["kind"]:
            value = _merged(old, value)
        merged[key] = value
    return merged
