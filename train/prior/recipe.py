"""Recipe of an entropy model, its rules, and the part of a checkpoint that belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, to_builtins

from vqcodec.config.effort import EFFORT
from vqcodec.config.reading import Count, Positive, Settings, read
from vqcodec.entropy.index_order import MOST_GRIDS
from vqcodec.errors import InputError, ModelError, UsageError
from vqcodec.models.registry import find
from vqcodec.tokens.tokens import has_step

from ..checkpoint import read_checkpoint
from ..recipe.schema import Above0, AtLeast0, Below1


class PriorRecipe(Settings, frozen=True):
    """Training of an entropy model on the indices of a frozen tokenizer."""

    model: str
    """Name or folder of the model whose entropy model is replaced."""
    train: tuple[str, ...]
    """Folders, tar shards or patterns of these."""
    steps: Positive
    """Length of the run."""
    architecture: Literal["context", "factorized-ar"] = "context"
    """context: the integer model of files. factorized-ar: a float model of width `units` for comparison and sampling
    (`vqcodec.sampling.factorized_ar`, FQGAN's FAR) over at most `crop` positions a side; files do not use it."""
    depth: Positive = 6
    """factorized-ar: layers of its backbone."""
    heads: Positive = 4
    """factorized-ar: attention heads of each layer; `units` is a multiple of 4 * heads."""
    head_layers: Positive = 2
    """factorized-ar: layers of the head that predicts the sub-tokens of a position one by one."""
    dropout: Below1 = 0.0
    """factorized-ar: dropout of embedded positions and of the layers' outputs, 0..1."""
    labels: Literal["", "folder"] = ""
    """factorized-ar: with `folder` the first folder in a picture's name is its class, as in ImageNet's layout; classes
    sorted by name are the labels 0, 1, ... that `sample --label` takes. Empty: no classes."""
    label_dropout: Below1 = 0.1
    """factorized-ar: share of the crops that lose their label, for classifier-free guidance, 0..1."""
    crop_px: Count = 0
    """factorized-ar: pictures are resized to a short side of so many pixels and their centre is cut out. 0: whole
    pictures."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after 100 steps of warm-up: down to 1 % along a cosine, or constant."""
    val: tuple[str, ...] = ()
    """Pictures, in the same form, that the bits per index are reported for at the end."""
    minutes: AtLeast0 = 0
    """If above 0, the run ends after this time even if steps are left; the schedule follows whichever is further.
    Such a run cannot be repeated exactly."""
    units: Positive = 112
    """Hidden units of each plane's network."""
    near: Count = 0
    """If above 0, a plane sees the surroundings in only so many planes before it, and the position itself in those
    further back."""
    grids: Annotated[int, Meta(ge=1, le=MOST_GRIDS)] = 1
    """Grids that a plane is coded over, each of half the spacing of the one before. With more than one, nearly all
    positions have coded neighbours."""
    own_by_grid: tuple[Count, ...] = ()
    """Coded planes that have weights of their own for each grid, for example those of block means."""
    batch: Positive = 4
    """Crops a step (factorized-ar: in each process)."""
    crop: Annotated[int, Meta(ge=2)] = 16
    """Side of a crop, positions, rounded down to a multiple of 2^grids, at least one of these; its surroundings are
    seen as well."""
    again: bool = False
    """Start from the context model that `model` has. Where indices are selected under it, a second round fits it to
    its own selection."""
    lr: Above0 = 5e-3
    """Largest learning rate."""
    bf16: bool = False
    """Products in bfloat16, except while the network is rounded."""
    seed: int = 0
    """Seed of all random numbers."""
    tile_px: Positive = 512
    """Side of the access tiles whose indices are collected, pixels."""
    rates: Positive = 2
    """context: rates at which indices of a picture or copy are collected, for models with a rate term."""
    most_tiles: Positive = 8
    """context: tiles that are collected of a picture or copy, at most; one of a single tile gives it at each rate."""
    copies: Count = 0
    """context: copies of each picture with other brightness, contrast and colours that are collected as well."""
    effort: Annotated[int, Meta(ge=1, le=9)] = EFFORT
    """context: effort at which indices are selected."""
    always: tuple[Count, ...] = ()
    """Coded planes that every step trains, for example those of block means."""
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Share of the steps that train each of the other planes, with as much more weight."""
    checkpoint_every: Positive = 200
    """Steps between checkpoints."""


def prior_recipe(tree: dict[str, Any]) -> PriorRecipe:
    """Checked recipe from parsed TOML. Raises UsageError naming the key."""
    try:
        recipe = read(PriorRecipe, tree, "recipe")
    except ModelError as error:
        raise UsageError(str(error)) from error
    check_prior(recipe)
    return recipe


def check_prior(recipe: PriorRecipe) -> None:
    """Apply the rules across keys. Raises UsageError naming the key."""
    if recipe.architecture == "factorized-ar" and recipe.units % (4 * recipe.heads):
        raise UsageError(f"recipe.units: {recipe.units} is not a multiple of 4 * heads")
    if recipe.own_by_grid and recipe.grids == 1:
        raise UsageError("recipe.own_by_grid: needs recipe.grids above 1")


def progress_of(step: int, seconds: float, recipe: PriorRecipe) -> float:
    """Progress of a run, 0..1 and beyond: by steps or by time, whichever is further."""
    by_time = seconds / 60 / recipe.minutes if recipe.minutes > 0 else 0
    return max(step / recipe.steps, by_time)


def saved(recipe: PriorRecipe) -> dict[str, Any]:
    """Recipe in the form that checkpoints hold."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in to_builtins(recipe).items()}


def resumed(checkpoint: Path, recipe: PriorRecipe) -> dict[str, Any]:
    """State of an interrupted run. Raises InputError for a file that cannot be read or is of another recipe."""
    state = read_checkpoint(checkpoint)
    if state["recipe"] != saved(recipe):
        raise InputError(f"{checkpoint}: made by another recipe; leave --resume out to start anew")
    return state


def refuse_stepped(name: str) -> None:
    """Raise UsageError for a model with a quantization step, ModelError if there is no model `name`."""
    if has_step(find(name).config):
        raise UsageError(
            f"recipe.model: '{name}' has a quantization step; its context network is trained with its other "
            "networks, by `train tokenizer`"
        )
