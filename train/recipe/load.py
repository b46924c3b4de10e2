"""Reading of recipes: TOML, the `base` that a recipe changes, and `--set key=value`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from vqcodec.config.reading import read
from vqcodec.errors import InputError, ModelError, UsageError, did_you_mean

from .checks import check
from .schema import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"
"""Folder of the bundled recipes."""


def load_recipe(source: str, changes: list[str] | None = None) -> Recipe:
    """Read the recipe at path `source`, or the bundled one of that name, and apply `key=value` changes.

    Raises InputError if the file is missing or not TOML, UsageError for a wrong key, type or value.
    """
    return from_tree(read_tree(source, changes))


def read_tree(source: str, changes: list[str] | None = None) -> dict[str, Any]:
    """Tables of a recipe file, merged with its base and `key=value` changes. Raises as `load_recipe`."""
    tree = _read(_find(source))
    for change in changes or []:
        _set(tree, change)
    return tree


def from_tree(tree: dict[str, Any]) -> Recipe:
    """Checked recipe from parsed TOML or JSON. Raises UsageError naming the key."""
    try:
        recipe = read(Recipe, tree, "recipe")
    except ModelError as error:
        raise UsageError(str(error)) from error
    check(recipe)
    return recipe


def _find(source: str) -> Path:
    for path in (Path(source), RECIPES / source, RECIPES / f"{source}.toml"):
        if path.is_file():
            return path
    names = sorted(path.stem for path in RECIPES.glob("*.toml"))
    near = did_you_mean(Path(source).stem, names)
    raise InputError(f"{source}: no such recipe{near}; give a .toml file or one of: {', '.join(names)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error
    base = tree.pop("base", None)
    return tree if base is None else _merge(_read(_find(str(path.parent / base))), tree)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        # A table of another `kind` replaces the base's: the settings of one kind mean nothing to another.
        other = both and "kind" in value and value["kind"] != merged[key].get("kind")
        merged[key] = _merge(merged[key], value) if both and not other else value
    return merged


def _set(tree: dict[str, Any], change: str) -> None:
    key, sign, text = change.partition("=")
    if not sign:
        raise UsageError(f"--set {change}: write key=value, for example optimizer.steps=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    # Every dot separates tables: names of losses contain a slash and no dot.
    *tables, last = key.strip().split(".")
    for name in tables:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {change}: '{name}' is a value, not a table")
    tree[last] = value
