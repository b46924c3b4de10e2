"""A training run as data: one TOML file, changed by `--set key=value`.

A recipe may name a `base` beside it and list only what it changes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqcodec.config import TokenizerConfig, from_dict
from vqcodec.errors import InputError, ModelError, UsageError
from vqcodec.quantizers.estimators import ESTIMATORS

RECIPES = Path(__file__).parent / "recipes"

LOSSES = ("rec/rmse", "rec/ms-ssim", "vq/commitment")
"""Every loss by its `group/name`: the key in recipes, code and logs."""


@dataclass(frozen=True)
class DataRecipe:
    train: tuple[str, ...]
    """Folders or tar shards; a pattern such as train-*.tar is expanded."""
    val: tuple[str, ...]
    crop: int = 128
    """Pixels a side."""
    batch: int = 8
    min_scale: float = 0.5
    """A crop is taken from the picture shrunk by a factor between this and 1."""
    cache_mb: int = 3000
    """Decoded pictures held in memory."""
    size_weight: float = 0.5
    """A picture is drawn in proportion to its pixel count to this power."""


@dataclass(frozen=True)
class MaskingRecipe:
    """How many groups a sample keeps (nested masking, MGVQ section 3)."""

    full: float = 0.5
    """Share of samples with all groups."""
    block: float = 0.2
    """Share of samples whose keep is drawn per block of the token grid; the rest draws one keep per sample."""
    block_sizes: tuple[int, ...] = (1, 2, 4)
    """Sides of these blocks, tokens."""
    empty: float = 0.05
    """Share of blocks that keep nothing, so that the decoder can close gaps."""


@dataclass(frozen=True)
class OptimizerRecipe:
    steps: int
    lr: float = 4e-4
    warmup: int = 500
    decay: int = 0
    """The last so many steps go down to a tenth of a per cent of `lr`, along a cosine."""
    betas: tuple[float, ...] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is validated and exported."""
    estimator: str = "noise"
    """How the gradient passes the quantizer: noise or straight-through, see vqcodec.quantizers.estimators."""
    kmeans_at: int = 600
    """Steps before this one train without quantization; then the codebooks start by k-means."""
    revive_every: int = 50
    """Dead codewords are replaced every so many steps, until the decay begins."""


@dataclass(frozen=True)
class RunRecipe:
    seed: int = 0
    precision: str = "bf16"
    """bf16 or fp32."""
    log_every: int = 100
    val_every: int = 2000
    save_every: int = 500
    stop_at: int = 0
    """Stop after this step, with a checkpoint, to go on with --resume and other settings; 0 is the end."""
    val_crop: int = 320
    val_images: int = 24


@dataclass(frozen=True)
class Recipe:
    name: str
    tokenizer: TokenizerConfig
    data: DataRecipe
    optimizer: OptimizerRecipe
    losses: dict[str, float]
    """Weights by `group/name`."""
    masking: MaskingRecipe = field(default_factory=MaskingRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    start_from: str = ""
    """A checkpoint or run folder whose weights and codebooks this run starts from."""
    description: str = ""


def load_recipe(source: str, changes: list[str] | None = None) -> Recipe:
    """Read the recipe at path `source` (or the bundled one of that name) and apply `key=value` changes.

    Raises InputError if the file is missing or not TOML, UsageError for a bad key, type or value.
    """
    return from_tree(read_tree(source, changes))


def read_tree(source: str, changes: list[str] | None = None) -> dict[str, Any]:
    """A recipe file as plain tables, with its base and `key=value` changes applied."""
    tree = _read(_find(source))
    for change in changes or []:
        _set(tree, change)
    return tree


def from_tree(tree: dict[str, Any]) -> Recipe:
    """A checked recipe from parsed TOML or JSON. Raises UsageError."""
    try:
        recipe = from_dict(Recipe, tree, "recipe")
    except ModelError as error:
        raise UsageError(str(error)) from error
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Refuse what would only fail hours later. Raises UsageError."""
    for key in recipe.losses:
        if key not in LOSSES:
            raise UsageError(f"recipe.losses: unknown loss '{key}'; known are {', '.join(LOSSES)}")
    stages = len(recipe.tokenizer.backbone.widths)
    if recipe.tokenizer.stride != 8 * 2 ** (stages - 1):
        raise UsageError(
            f"recipe.tokenizer: {stages} widths make a stride of {8 * 2 ** (stages - 1)}, not {recipe.tokenizer.stride}"
        )
    for name in ("encoder_depths", "decoder_depths"):
        if len(getattr(recipe.tokenizer.backbone, name)) != stages:
            raise UsageError(f"recipe.tokenizer.backbone.{name}: one number per width needed, {stages} in all")
    if recipe.data.crop % recipe.tokenizer.stride:
        raise UsageError(
            f"recipe.data.crop: {recipe.data.crop} is not a multiple of the stride {recipe.tokenizer.stride}"
        )
    if recipe.optimizer.estimator not in ESTIMATORS:
        known = ", ".join(ESTIMATORS)
        raise UsageError(f"recipe.optimizer.estimator: '{recipe.optimizer.estimator}' is not one of {known}")
    if not 1 <= recipe.tokenizer.quantizer.groups <= 16:
        raise UsageError("recipe.tokenizer.quantizer.groups: 1..16, as many layers as a file can hold")
    if "rec/rmse" not in recipe.losses and "rec/ms-ssim" not in recipe.losses:
        raise UsageError("recipe.losses: at least one of rec/rmse and rec/ms-ssim is needed")
    for name in ("log_every", "val_every", "save_every", "val_images"):
        if getattr(recipe.run, name) < 1:
            raise UsageError(f"recipe.run.{name}: at least 1")
    if recipe.run.precision not in ("bf16", "fp32"):
        raise UsageError(f"recipe.run.precision: bf16 or fp32, not '{recipe.run.precision}'")
    if not 0 <= recipe.optimizer.decay <= recipe.optimizer.steps:
        raise UsageError("recipe.optimizer.decay: between 0 and optimizer.steps")


def _find(source: str) -> Path:
    for path in (Path(source), RECIPES / source, RECIPES / f"{source}.toml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
    raise InputError(f"{source}: no such recipe; give a .toml file or one of: {names}")


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
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _set(tree: dict[str, Any], change: str) -> None:
    key, sign, text = change.partition("=")
    if not sign:
        raise UsageError(f"--set {change}: write key=value, for example optimizer.steps=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    # Only the first dots separate tables: loss names hold a slash, never a dot.
    *tables, last = key.strip().split(".")
    for name in tables:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {change}: '{name}' is a value, not a table")
    tree[last] = value
