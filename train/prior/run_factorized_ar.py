"""`train prior` with the architecture factorized-ar: a float model for sampling, written next to a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model
from vqcodec.sampling.factorized_ar import write_far

from ..data.pictures import scan
from ..processes import end_together
from .factorized_ar import factorized_ar_bits, train_factorized_ar
from .factorized_ar_data import class_names, labelled_tiles
from .recipe import PriorRecipe, refuse_stepped

CLASSES = "classes.json"
"""File with the names of the classes in the order of their labels, next to the float model."""


def run_factorized_ar(
    recipe: PriorRecipe,
    out: Path,
    checkpoint: Path,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> None:
    """Copy the recipe's model to folder `out` and add a float model trained on the recipe's pictures.

    Under `accelerate launch` or `torchrun` every process calls this; the first one writes.
    Raises UsageError, InputError and ModelError as `run_prior` does.
    """
    accelerator = Accelerator(cpu=device == "cpu")
    if recipe.minutes > 0 and accelerator.num_processes > 1:
        raise UsageError("recipe.minutes: with several processes give steps only: their clocks differ")
    say = report if accelerator.is_main_process else (lambda _: None)
    where = str(accelerator.device) if accelerator.num_processes > 1 or device == "cpu" else device
    refuse_stepped(recipe.model)
    model = load_model(recipe.model, where)
    pictures = scan(recipe.train, 1 if recipe.crop_px else model.stride)
    classes = class_names(pictures) if recipe.labels else []
    kinds = f" of {len(classes)} classes" if classes else ""
    say(f"{model.config.name}: indices of {len(pictures.members)} pictures{kinds}")
    tiles, labels = labelled_tiles(model, pictures, recipe, classes, accelerator)
    sizes = model.entropy.sizes
    far = train_factorized_ar(tiles, sizes, recipe, say, checkpoint, resume, labels, len(classes), accelerator)
    if recipe.val:
        held_out = scan(recipe.val, 1 if recipe.crop_px else model.stride)
        val, val_labels = labelled_tiles(model, held_out, recipe, classes, accelerator)
        bits = factorized_ar_bits(far, val, val_labels).mean()
        say(f"bits per index on val: {bits:.3f}, by a model that is not for files")
    if accelerator.is_main_process:
        shutil.copytree(model.entry.folder, out)
        write_far(out, far.cpu())
        if classes:
            (out / CLASSES).write_text(json.dumps(classes, indent=1) + "\n", encoding="utf-8")
        checkpoint.unlink(missing_ok=True)
    say(f"{out}: {model.config.name} with a float model for `vqcodec sample`; files are coded as before")
    end_together(accelerator)
