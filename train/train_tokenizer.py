"""`vqcodec train tokenizer`: a run from its recipe to its last checkpoint (folders, data, logs, order of events)."""

from __future__ import annotations

import json
import time
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from msgspec import structs, to_builtins
from torch import Tensor

from vqcodec.errors import InputError, OutputError

from .best_checkpoint import BEST, described, keep_best
from .data.crops import Crops
from .data.gpu_crops import ResidentCrops
from .data.loader import Loader
from .data.pictures import Pictures, scan
from .logs import Logs, Report
from .losses.perceptual import Perceptual, installed_perceptual, lpips_advice
from .processes import end_together
from .quantization.refit_codebooks import refit_codebooks
from .recipe.schema import Recipe
from .run import CHECKPOINT, TokenizerRun
from .schedule import learning_rate_at
from .start.from_klt import start_from_klt
from .start.from_model import start_from_model
from .start.from_narrower_model import widen
from .start.from_vit import start_pretrained
from .validate import Validation, validation_table

KLT_BATCH = 32
"""Crops per batch that the KLT is measured on."""


def train_tokenizer(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    device: str = "cpu",
    report: Report = print,
    live: bool = False,
) -> TokenizerRun:
    """Run `recipe` in `folder`: checkpoint.pt, recipe.json, log.jsonl, tensorboard/. Returns the finished run.

    Under `accelerate launch` or `torchrun` every process calls this; the first one writes.
    Raises OutputError if the folder holds a run already and `resume` is not set, InputError for missing data.
    """
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise OutputError(f"{folder}: holds a run already; add --resume to continue it, or name another folder")
    least = 1 if recipe.data.short_side else recipe.data.crop
    pictures = scan(recipe.data.train, least, recipe.data.index)
    validation = Validation.load(recipe)
    # Codewords learned by gradient have none before the codebooks start.
    unused = DistributedDataParallelKwargs(
        find_unused_parameters=recipe.codebook.learning == "gradient", broadcast_buffers=False
    )
    accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=[unused])
    first = accelerator.is_main_process
    say: Report = report if first else lambda _: None
    for line in pictures.skipped:
        say(f"skipped {line}")
    crops = _crops(recipe, pictures, accelerator)
    run = TokenizerRun(recipe, accelerator, crops.batch)
    if checkpoint.exists():
        run.load(checkpoint)
    else:
        _start(run, pictures)
    say(
        f"{recipe.name}: {len(pictures.members)} pictures, {parameters(run):,} parameters, "
        f"{accelerator.num_processes} process(es) on {accelerator.device}, "
        f"steps {run.step:,}..{recipe.optimizer.steps:,}, {folder}"
    )
    if first:
        validation.perceptual = validation_perceptual(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(to_builtins(recipe), indent=1), encoding="utf-8")
        with Logs(folder, run.step, recipe.run.tensorboard, live, report) as logs:
            _loop(run, crops, validation, folder, logs)
    else:
        _loop(run, crops, validation, folder, None)
    for name, reason in crops.damaged.items():
        report(f"skipped {name}: {reason}")
    end_together(accelerator)
    return run


def _crops(recipe: Recipe, pictures: Pictures, accelerator: Accelerator) -> Crops:
    """Crops of this process."""
    part = accelerator.process_index, accelerator.num_processes
    if recipe.data.resident:
        return ResidentCrops(pictures, recipe.data, recipe.run.seed, *part, device=accelerator.device)
    return Crops(pictures, recipe.data, recipe.run.seed, *part)


def _start(run: TokenizerRun, pictures: Pictures) -> None:
    """Set the first weights by the recipe: from a run, a model, a pretrained network or the pictures' KLT."""
    recipe, tokenizer = run.recipe, run.model
    crops = Crops(pictures, recipe.data, recipe.run.seed)
    if source := recipe.start_from:
        path = Path(source)
        if path.is_file() or (path / CHECKPOINT).exists():
            run.start_from(path / CHECKPOINT if path.is_dir() else path)
        elif recipe.quantizer_frozen:
            start_from_model(tokenizer, source)
        else:
            widen(tokenizer, source, crops)
    elif recipe.pretrained.model:
        start_pretrained(tokenizer, recipe.pretrained)
    elif recipe.codebook.start == "klt":
        data = structs.replace(recipe.data, batch=KLT_BATCH)
        start_from_klt(tokenizer, Crops(pictures, data, recipe.run.seed))
    run.restart()
    if recipe.codebook.refit:
        refit_codebooks(tokenizer, recipe.codebook, recipe.run.seed, crops)
        run.average.reset()


def validation_perceptual(run: TokenizerRun) -> Perceptual | None:
    """LPIPS for validation: that of the loss, otherwise a new one if its weights are installed.

    Raises InputError if `run.best` is lpips and it is missing.
    """
    found = run.perceptual or installed_perceptual(run.device)
    if found is None and run.recipe.run.best == "lpips":
        raise InputError(
            f"run.best: lpips cannot be measured; {lpips_advice()}, or choose another: --set run.best=ssim"
        )
    return found


def parameters(run: TokenizerRun) -> int:
    """Number of parameters of the tokenizer."""
    return sum(p.numel() for p in run.model.parameters())


def _loop(run: TokenizerRun, crops: Crops, validation: Validation, folder: Path, logs: Logs | None) -> None:
    settings, optimizer = run.recipe.run, run.recipe.optimizer
    steps = min(optimizer.steps, settings.stop_at or optimizer.steps)
    loader = Loader(crops, run.step * optimizer.accumulate, steps * optimizer.accumulate, run.recipe.data.workers)
    batches = iter(loader)
    meter = Meter(run, loader)
    try:
        while run.step < steps:
            parts = [next(batches) for _ in range(optimizer.accumulate)]
            meter.add(run.train_step(parts))
            last = run.step == steps
            if run.step % settings.log_every == 0 or last:
                row = meter.read()
                if logs:
                    logs.row(run.step, {"lr": learning_rate_at(optimizer, run.step), **row})
            if (run.step % settings.val_every == 0 or last) and logs and run.codebooks.started(run.step):
                _validate(run, validation, folder, logs, last)
                meter.restart()
            if run.step % settings.save_every == 0 or last:
                run.save(folder)
    finally:
        batches.close()  # type: ignore[attr-defined]


def _validate(run: TokenizerRun, validation: Validation, folder: Path, logs: Logs, last: bool) -> None:
    with run.averaged() as model:
        row = validation.measure(model)
        if last:
            row |= validation.usage(model)
        logs.pictures(run.step, validation.pictures(model))
    logs.row(run.step, row)
    logs.text(validation_table(run.step, row))
    if keep_best(run, row, folder):
        logs.text(f"  {BEST}: {described(run)}")


class Meter:
    """Means of the values of the steps, and shares of the time, since the last reading."""

    def __init__(self, run: TokenizerRun, loader: Loader) -> None:
        self.run, self.loader = run, loader
        self.sums: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Reset the clock and the sums."""
        self.since, self.waited = time.perf_counter(), self.loader.waited_s
        self.steps = 0
        self.run.clock.read()
        self.sums = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add the values of one step. They stay on the device, so that steps do not wait for a GPU."""
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def read(self) -> dict[str, float]:
        """Means of the losses; steps and crops per second; the loader's crops per second; shares of the time."""
        count = max(self.steps, 1)
        row = {name: round(float(value) / count, 5) for name, value in self.sums.items()}
        elapsed = time.perf_counter() - self.since
        crops = self.run.recipe.data.batch * self.run.recipe.optimizer.accumulate * self.run.accelerator.num_processes
        row |= {
            "time/steps_per_s": round(count / elapsed, 3),
            "time/crops_per_s": round(count * crops / elapsed, 2),
            "time/loader_crops_per_s": round(self.loader.crops_per_s, 1),
            "time/waiting": round((self.loader.waited_s - self.waited) / elapsed, 4),
        }
        row |= {f"time/{name}": round(seconds / elapsed, 4) for name, seconds in self.run.clock.read().items()}
        self.restart()
        return row
