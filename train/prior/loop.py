"""Training loop of entropy models: schedule, reports, and checkpoints to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import write_checkpoint
from .recipe import PriorRecipe, progress_of, resumed, saved

REPORT_EVERY = 100
"""Steps between reports."""


class PriorLoop:
    """Steps of `recipe` on `model`, from its first one or from the file `checkpoint`.

    `planes`: number of planes whose bits per index are reported. Only a process that `writes` keeps the checkpoint.
    Raises InputError, with `resume`, for a checkpoint that cannot be read or is of another recipe.
    """

    def __init__(
        self,
        recipe: PriorRecipe,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        planes: int,
        checkpoint: Path | None = None,
        resume: bool = False,
        writes: bool = True,
    ) -> None:
        self.recipe, self.model, self.optimizer = recipe, model, optimizer
        self.checkpoint = checkpoint if writes else None
        self.step, self.spent = 0, 0.0
        self.total = torch.zeros(planes, device=next(model.parameters()).device)
        """Sum of the bits per index of each plane since the last report."""
        if checkpoint is not None and resume:
            state = resumed(checkpoint, recipe)
            model.load_state_dict(state["prior"])
            optimizer.load_state_dict(state["optimizer"])
            self.step, self.spent = state["step"], state["spent"]
            self.total.copy_(state["total"])

    def run(self, take_step: Callable[[int, float], Tensor], report: Callable[[int, Tensor], object]) -> None:
        """All steps that are left.

        `take_step(step, progress)` returns the bits per index of each plane [S]; `report(step, bits)` receives their
        means over the last 100 steps.
        """
        start = time.monotonic() - self.spent
        while (progress := progress_of(self.step, time.monotonic() - start, self.recipe)) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate_at(self.recipe, self.step, progress)
            self.total += take_step(self.step, progress)
            self.step += 1
            if self.step % REPORT_EVERY == 0:
                report(self.step, self.total / REPORT_EVERY)
                self.total.zero_()
            if self.checkpoint is not None and self.step % self.recipe.checkpoint_every == 0:
                self._save(self.checkpoint, time.monotonic() - start)

    def _save(self, checkpoint: Path, spent: float) -> None:
        state = {
            "recipe": saved(self.recipe),
            "prior": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": spent,
            "total": self.total,
        }
        write_checkpoint(checkpoint, state)


def learning_rate_at(recipe: PriorRecipe, step: int, progress: float) -> float:
    """Learning rate: up over 100 steps or a tenth of the run, then constant (FQGAN) or down to 1 % along a cosine."""
    warm = min(1.0, (step + 1) / min(100, 1 + recipe.steps // 10))
    if recipe.schedule == "constant":
        return recipe.lr * warm
    return recipe.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
