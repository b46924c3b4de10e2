"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from .recipe.schema import OptimizerRecipe


def learning_rate(optimizer: OptimizerRecipe, step: int) -> float:
    """Warm-up, then constant; its last part goes down along a cosine.

    With `schedule = "constant"` that part is the last `decay` steps, with "cosine" everything after the warm-up.
    """
    warm = min(1.0, (step + 1) / max(optimizer.warmup, 1))
    length = optimizer.decay if optimizer.schedule == "constant" else max(optimizer.steps - optimizer.warmup, 1)
    left = optimizer.steps - step
    if left >= length:
        return optimizer.lr * warm
    floor = optimizer.floor
    return optimizer.lr * warm * (floor + (1 - floor) * 0.5 * (1 - math.cos(math.pi * left / length)))
