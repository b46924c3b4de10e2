"""`vqcodec train tokenizer` for models with a quantization step: a run from its recipe to its last checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins
from torch import Tensor

from vqcodec.errors import OutputError

from ..data.crops import Crops
from ..data.gpu_crops import ResidentCrops
from ..data.loader import Loader
from ..data.pictures import Pictures, scan
from ..logs import Logs, Report
from ..validate import validation_table
from .context_rows import rows_of
from .recipe import SteppedRecipe
from .rows_run import RowsRun
from .run import CHECKPOINT, SteppedRun
from .validate import Validation


def train_stepped(
    recipe: SteppedRecipe, folder: Path, resume: bool, device: str, report: Report, live: bool
) -> SteppedRun:
    """Run `recipe` in `folder`: checkpoint.pt, recipe.json, log.jsonl, tensorboard/. Returns the run.

    Raises OutputError if the folder holds a run already and `resume` is not set, InputError for missing data.
    """
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise OutputError(f"{folder}: holds a run already; add --resume to continue it, or name another folder")
    least = recipe.tokenizer.stride if recipe.data.short_side or recipe.encoded.model else recipe.data.crop
    pictures = scan(recipe.data.train, least, recipe.data.index)
    validation = Validation(recipe)
    for line in pictures.skipped[:20]:
        report(f"skipped {line}")
    damaged: dict[str, str] = {}
    if recipe.encoded.model:
        rows = rows_of(pictures, recipe, folder, damaged, report)
        run: SteppedRun = RowsRun(recipe, rows, device)
    else:
        run = SteppedRun(recipe, device)
    if checkpoint.exists():
        run.load(checkpoint)
    elif recipe.start_from:
        run.start_from(recipe.start_from)
    count = sum(value.numel() for value in run.model.parameters())
    report(
        f"{recipe.name}: {len(pictures.members)} pictures, {count:,} parameters on {device}, "
        f"steps {run.step:,}..{recipe.optimizer.steps:,}, {run.pixels / 1e6:,.0f} megapixels seen, {folder}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(to_builtins(recipe), indent=1), encoding="utf-8")
    with Logs(folder, run.step, tensorboard=False, live=live, report=report) as logs:
        if isinstance(run, RowsRun):
            _loop(run, run.rows_step, validation, folder, logs)
        else:
            damaged |= _train_on_crops(run, pictures, device, validation, folder, logs)
    for name, reason in damaged.items():
        report(f"skipped {name}: {reason}")
    return run


def _train_on_crops(
    run: SteppedRun, pictures: Pictures, device: str, validation: Validation, folder: Path, logs: Logs
) -> dict[str, str]:
    """Train on crops of `pictures`; returns the errors of damaged ones by name."""
    data, seed = run.recipe.data, run.recipe.run.seed
    crops = (
        ResidentCrops(pictures, data, seed, device=torch.device(device))
        if data.resident
        else Crops(pictures, data, seed)
    )
    loader = Loader(crops, run.step, last_step(run.recipe), data.workers)
    batches = iter(loader)
    try:
        _loop(run, lambda: run.train_step(next(batches)), validation, folder, logs)
    finally:
        batches.close()  # type: ignore[attr-defined]
    return crops.damaged


def last_step(recipe: SteppedRecipe) -> int:
    """Step at which the run stops."""
    return min(recipe.optimizer.steps, recipe.run.stop_at or recipe.optimizer.steps)


def _loop(
    run: SteppedRun, advance: Callable[[], dict[str, Tensor]], validation: Validation, folder: Path, logs: Logs
) -> None:
    """Call `advance`, one training step, until the last step, with logs, validations and checkpoints."""
    settings, steps = run.recipe.run, last_step(run.recipe)
    began = since = time.perf_counter()
    seen, sums, count = run.pixels, dict[str, Any](), 0
    while run.step < steps:
        for name, value in advance().items():
            sums[name] = sums.get(name, 0) + value
        count += 1
        late = 0 < 60 * settings.minutes <= time.perf_counter() - began
        last = run.step == steps or late
        if run.step % settings.log_every == 0 or last:
            row = {name: round(float(value) / count, 5) for name, value in sums.items()}
            elapsed = time.perf_counter() - since
            row |= {
                "run/megapixels": round(run.pixels / 1e6, 1),
                "run/megapixels_per_s": round((run.pixels - seen) / 1e6 / elapsed, 4),
            }
            logs.row(run.step, row)
            since, seen, sums, count = time.perf_counter(), run.pixels, {}, 0
        if run.step % settings.val_every == 0 or last:
            found = validation.measure(run)
            logs.row(run.step, found | {"run/megapixels": round(run.pixels / 1e6, 1)})
            logs.text(validation_table(run.step, found))
            since = time.perf_counter()
        if run.step % settings.save_every == 0 or last:
            run.save(folder)
        if late:
            break
