"""The training loop of a tokenizer: one step on one screen.

Everything random in a step (crops, masks, revived codewords) is drawn from (seed, step), so that a run that was
killed goes on exactly where its last checkpoint stands.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from vqcodec.errors import InputError, OutputError
from vqcodec.quantizers.estimators import ESTIMATORS
from vqcodec.tokenizer import Tokenizer

from .checkpoint import read_checkpoint, write_checkpoint
from .data import Crops, prefetch, scan
from .losses import reconstruction_losses
from .masking import draw_kept
from .recipe import OptimizerRecipe, Recipe
from .validate import Validation, validation_table

CHECKPOINT = "checkpoint.pt"
KMEANS_BATCHES = 24

Report = Callable[[str], None]
"""Takes one line for people."""


class TokenizerRun:
    """State of a run: the tokenizer, its moving average, the optimizer and the step."""

    def __init__(self, recipe: Recipe, folder: Path, device: str = "cpu") -> None:
        self.recipe, self.folder, self.device = recipe, folder, torch.device(device)
        torch.manual_seed(recipe.run.seed)
        self.model = Tokenizer(recipe.tokenizer).to(self.device, memory_format=torch.channels_last)
        self.ema = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        optimizer = recipe.optimizer
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=optimizer.lr,
            betas=(optimizer.betas[0], optimizer.betas[1]),
            weight_decay=optimizer.weight_decay,
            fused=True,
        )
        self.step = 0
        self.latents: list[Tensor] = []

    def save(self) -> None:
        write_checkpoint(
            self.folder / CHECKPOINT,
            {
                "step": self.step,
                "model": self.model.state_dict(),
                "ema": self.ema,
                "optimizer": self.optimizer.state_dict(),
                "recipe": json.dumps(asdict(self.recipe)),
            },
        )

    def load(self, path: Path) -> None:
        """Go on from the checkpoint at `path`."""
        state = read_checkpoint(path)
        self._load_weights(state, path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def start_from(self, path: Path) -> None:
        """Take weights and codebooks of the checkpoint at `path`, as the start of a new run."""
        state = read_checkpoint(path)
        state["model"].update(state["ema"])
        self._load_weights(state, path)

    def _load_weights(self, state: dict, path: Path) -> None:
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(f"{path}: made by another architecture: {str(error).splitlines()[1].strip()}") from error
        with torch.no_grad():
            for name, value in state["ema"].items():
                self.ema[name].copy_(value)

    def train_step(self, batch: Tensor) -> dict[str, Tensor]:
        """One step on uint8 crops [B, 3, H, W]; returns unweighted losses, `total` and `grad_norm`."""
        recipe, optimizer = self.recipe, self.recipe.optimizer
        generator = torch.Generator().manual_seed(recipe.run.seed * 1_000_003 + self.step)
        x = batch.to(self.device, memory_format=torch.channels_last).float() / 127.5 - 1
        stride, groups = recipe.tokenizer.stride, recipe.tokenizer.quantizer.groups
        size = (x.shape[2] // stride, x.shape[3] // stride)
        kept = draw_kept(recipe.masking, len(x), groups, *size, generator).to(self.device)
        noise = None
        if self.step < optimizer.kmeans_at:
            channels = groups * recipe.tokenizer.quantizer.dim
            noise = 0.1 * torch.randn((len(x), channels, *size), generator=generator).to(self.device)

        self.model.quantizer.estimate = ESTIMATORS[optimizer.estimator]
        # The noise of an estimator comes from the default generator.
        torch.manual_seed(recipe.run.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(optimizer, self.step)
        self.model.train()
        with self._autocast():
            result = self.model(x, kept, noise)
        losses = reconstruction_losses(result, x, set(recipe.losses))
        total = sum(recipe.losses[name] * loss for name, loss in losses.items())
        assert isinstance(total, Tensor)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), optimizer.clip)
        self.optimizer.step()

        self._codebooks_step(result.z.detach(), generator)
        with torch.no_grad():
            decay = min(optimizer.ema, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(list(self.ema.values()), list(self.model.parameters()), 1 - decay)
        self.step += 1
        return {**{k: v.detach() for k, v in losses.items()}, "total": total.detach(), "grad_norm": norm}

    def _codebooks_step(self, z: Tensor, generator: torch.Generator) -> None:
        """K-means start from the last batches before `kmeans_at`; revival of dead codewords afterwards."""
        optimizer, quantizer = self.recipe.optimizer, self.model.quantizer
        if optimizer.kmeans_at - KMEANS_BATCHES <= self.step < optimizer.kmeans_at:
            self.latents.append(quantizer._rows(z))
            if self.step == optimizer.kmeans_at - 1:
                quantizer.bank.kmeans(torch.cat(self.latents, 1), generator)
                self.latents = []
        learning = optimizer.kmeans_at <= self.step < optimizer.steps - optimizer.decay
        if learning and self.step % optimizer.revive_every == 0:
            quantizer.bank.revive(quantizer._rows(z), generator)

    def _autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.run.precision == "bf16")

    @contextlib.contextmanager
    def averaged(self):
        """The tokenizer with its averaged weights, in evaluation mode."""
        parameters = dict(self.model.named_parameters())
        own = {name: value.detach().clone() for name, value in parameters.items()}
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(self.ema[name])
        self.model.eval()
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for name, value in parameters.items():
                    value.copy_(own[name])


def learning_rate(optimizer: OptimizerRecipe, step: int) -> float:
    """Warm-up, then constant, then the last `decay` steps along a cosine to a thousandth."""
    warm = min(1.0, (step + 1) / max(optimizer.warmup, 1))
    left = optimizer.steps - step
    if left >= optimizer.decay:
        return optimizer.lr * warm
    return optimizer.lr * (0.001 + 0.999 * 0.5 * (1 - math.cos(math.pi * left / optimizer.decay)))


def train_tokenizer(
    recipe: Recipe, folder: Path, resume: bool = False, device: str = "cpu", report: Report = print
) -> TokenizerRun:
    """Run `recipe` in `folder`: checkpoint.pt, recipe.json and log.jsonl. Returns the finished run.

    Raises OutputError if the folder holds a run already and `resume` is not set, InputError for missing data.
    """
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise OutputError(f"{folder}: holds a run already; add --resume to go on with it, or name another folder")
    pictures = scan(recipe.data.train, recipe.data.crop)
    validation = Validation.load(recipe)
    for line in pictures.skipped:
        report(f"skipped {line}")
    folder.mkdir(parents=True, exist_ok=True)
    run = TokenizerRun(recipe, folder, device)
    if checkpoint.exists():
        run.load(checkpoint)
    elif recipe.start_from:
        source = Path(recipe.start_from)
        run.start_from(source / CHECKPOINT if source.is_dir() else source)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1), encoding="utf-8")
    data = recipe.data
    crops = Crops(pictures, data.crop, data.batch, recipe.run.seed, data.min_scale, data.size_weight, data.cache_mb)
    report(f"{recipe.name}: {len(pictures.members)} pictures, steps {run.step}..{recipe.optimizer.steps}, {folder}")
    with open(folder / "log.jsonl", "a", encoding="utf-8") as log:
        _loop(run, crops, validation, log, report)
    for name, reason in crops.damaged.items():
        report(f"skipped {name}: {reason}")
    return run


def _loop(run: TokenizerRun, crops: Crops, validation: Validation, log, report) -> None:
    settings = run.recipe.run
    steps = min(run.recipe.optimizer.steps, settings.stop_at or run.recipe.optimizer.steps)
    sums: dict[str, float] = {}
    since, waited = time.monotonic(), 0.0
    batches = prefetch(crops, run.step, steps)
    try:
        while True:
            before = time.monotonic()
            item = next(batches, None)
            waited += time.monotonic() - before
            if item is None:
                break
            for name, value in run.train_step(item[1]).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            if run.step % settings.log_every == 0:
                elapsed = time.monotonic() - since
                row = {name: round(value / settings.log_every, 5) for name, value in sums.items()}
                rate = {
                    "steps_per_s": round(settings.log_every / elapsed, 3),
                    "loader_share": round(waited / elapsed, 3),
                }
                _log(log, {"step": run.step, "lr": learning_rate(run.recipe.optimizer, run.step), **row, **rate})
                sums, since, waited = {}, time.monotonic(), 0.0
            if run.step % settings.val_every == 0 or run.step == steps:
                if run.step > run.recipe.optimizer.kmeans_at:
                    with run.averaged() as model:
                        row = validation.measure(model)
                    _log(log, {"step": run.step, **row})
                    report(validation_table(run.step, row))
                since = time.monotonic()
            if run.step % settings.save_every == 0 or run.step == steps:
                run.save()
    finally:
        batches.close()  # type: ignore[attr-defined]


def _log(log, row: dict) -> None:
    log.write(json.dumps(row) + "\n")
    log.flush()
