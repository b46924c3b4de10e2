"""Quality ladders: the step of a model for a quality, and for files without a size option."""

from __future__ import annotations

from ..config.model import LadderStep, ModelConfig
from ..errors import UsageError

DEFAULT_QUALITY = 50
"""Quality of files without a size option."""


def check_quality(quality: int) -> None:
    """Raise UsageError unless 1 <= quality <= 100."""
    if not 1 <= quality <= 100:
        raise UsageError(f"quality {quality}: give 1..100")


def ladder(config: ModelConfig) -> tuple[LadderStep, ...]:
    """The steps of a model, at least one, smallest files first."""
    return config.ladder or (LadderStep(100, len(config.layers)),)


def step_for_quality(config: ModelConfig, quality: int) -> LadderStep:
    """The last step that begins at or below `quality` 1..100, otherwise the first step. Raises UsageError."""
    check_quality(quality)
    steps = ladder(config)
    return max((step for step in steps if step.quality <= quality), key=lambda step: step.quality, default=steps[0])


def default_step(config: ModelConfig) -> LadderStep:
    """The step of files without a size option: DEFAULT_QUALITY where the ladder reaches beyond it, else the last."""
    steps = ladder(config)
    covered = steps[0].quality <= DEFAULT_QUALITY <= steps[-1].quality
    return step_for_quality(config, DEFAULT_QUALITY) if covered else steps[-1]
