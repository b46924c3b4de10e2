"""Recipes of priors, and what a run of one keeps to go on from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqcodec.errors import InputError, UsageError
from vqcodec.models.registry import find
from vqcodec.tokens.tokens import has_step

from ..checkpoint import read_checkpoint

ARCHITECTURES = ("context", "factorized-ar")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class PriorRecipe:
    """How a context model is fitted to the indices of a frozen tokenizer."""

    model: str
    """Name or folder of the model whose entropy model is replaced."""
    train: tuple[str, ...]
    """Folders, tar shards or patterns of these."""
    steps: int
    architecture: str = "context"
    """context: the integer model of files. factorized-ar: a float model of width `units` for comparison and sampling
    (`vqcodec.sampling.factorized_ar`, FQGAN's FAR); it sees up to `crop` positions a side, and no file uses it."""
    depth: int = 6
    """factorized-ar: layers of its backbone."""
    heads: int = 4
    """factorized-ar: attention heads of each layer; `units` is a multiple of 4 for each."""
    head_layers: int = 2
    """factorized-ar: layers of the head that predicts the sub-tokens of a position one by one."""
    dropout: float = 0.0
    """factorized-ar: share of embedded positions and of what layers add that is left out in training."""
    labels: str = ""
    """factorized-ar: folder: the first folder in a picture's name is its class, as in ImageNet's layout; sorted by
    name, classes are the labels 0, 1, ... that `sample --label` takes. Empty: no classes."""
    label_dropout: float = 0.1
    """factorized-ar: share of the crops that are shown without their label, for classifier-free guidance."""
    crop_px: int = 0
    """factorized-ar: pictures are resized to a short side of so many pixels, and only their centre is taken; 0: whole
    pictures."""
    schedule: str = "cosine"
    """factorized-ar: learning rate down to 1 % along a cosine, or constant; both after 100 steps of warm-up."""
    val: tuple[str, ...] = ()
    """Pictures, in the same form, that the bits per index are reported for at the end."""
    minutes: float = 0
    """If above 0, training is over after this time even if the steps are not: the schedule goes by whichever is
    further. Such a run cannot be repeated exactly."""
    units: int = 112
    """Hidden units of each plane's network."""
    near: int = 0
    """If above 0, a plane sees only as many planes before it with their surroundings, and of those further back the
    position itself."""
    batch: int = 4
    """Crops a step; of factorized-ar in each process."""
    crop: int = 16
    """Side of a crop, positions; its surroundings are seen as well."""
    again: bool = False
    """Start from the context model that `model` has. Where indices are chosen under it, a second round fits it to what
    its own choices look like."""
    lr: float = 5e-3
    quantized_share: float = 0.2
    """Share of the steps, the last ones, that train the network as the integers it will be."""
    bf16: bool = False
    """Products in bfloat16, but for the share above; of factorized-ar in all steps."""
    seed: int = 0
    tile_px: int = 512
    checkpoint_every: int = 200
    """Steps."""


def progress_of(step: int, seconds: float, recipe: PriorRecipe) -> float:
    """0..1 and beyond: by steps or by time, whichever is further."""
    by_time = seconds / 60 / recipe.minutes if recipe.minutes > 0 else 0
    return max(step / recipe.steps, by_time)


def saved(recipe: PriorRecipe) -> dict[str, Any]:
    """A recipe as a checkpoint holds it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


def resumed(checkpoint: Path, recipe: PriorRecipe) -> dict[str, Any]:
    """What a killed run left. Raises InputError for a file that cannot be read or is of another recipe."""
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
