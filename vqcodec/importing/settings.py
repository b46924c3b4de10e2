"""Configuration files for checkpoints of the four systems whose sizes differ from those of the releases.

The file holds one TOML table, [tokenizer], with the keys of recipes and of config.json. With the name of a family the
table is complete; with the name of a release it holds the differences from that release.
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
    """Find the system of the family or release `name` and read the tokenizer configuration at `path` (TOML).

    Raises InputError if the file cannot be read, UsageError for an unknown name and for an unknown, missing or invalid
    key.
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
    """Read the table [tokenizer] of a TOML file. Raises InputError, UsageError for other tables."""
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
    """Merge `changes` into `base`; a table with another `kind` replaces the one of the release."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("kind", old["kind"]) == old["kind"]:
            value = _merged(old, value)
        merged[key] = value
    return merged
