"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from .recipe.schema import OptimizerRecipe


def learning_rate_at(optimizer: OptimizerRecipe, step: int) -> float:
    """Learning rate at `step`: linear warm-up, constant part, then a cosine down to `floor * lr`.

        lr * min(1, (step + 1) / warmup) * (floor + (1 - floor) * (1 - cos(pi * left / length)) / 2)

    in the last `length` steps, of which `left` remain. With `schedule = "constant"` they are the last `decay` steps,
    with "cosine" all steps after the warm-up.
    """
    warm = min(1.0, (step + 1) / max(optimizer.warmup, 1))
    length = optimizer.decay if optimizer.schedule == "constant" else max(optimizer.steps - optimizer.warmup, 1)
    left = optimizer.steps - step
    if left >= length:
        return optimizer.lr * warm
    floor = optimizer.floor
    return optimizer.lr * warm * (floor + (1 - floor) * 0.5 * (1 - math.cos(math.pi * left / length)))
