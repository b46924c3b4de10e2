"""Steps of a ladder: for a quality, and for files without a size option."""

from __future__ import annotations

import pytest

from vqcodec.config.model import LadderStep, ModelConfig
from vqcodec.errors import UsageError
from vqcodec.models import registry
from vqcodec.models.ladder import DEFAULT_QUALITY, default_step, step_for_quality


def config(*qualities: int) -> ModelConfig:
    from msgspec import structs

    steps = tuple(LadderStep(quality, 1, 1 / quality) for quality in qualities)
    return structs.replace(registry.find(registry.DEFAULT_MODEL).config, ladder=steps)


def test_the_last_step_at_or_below_a_quality() -> None:
    small, upper = config(1, 18, 34, 50), config(51, 75, 100)
    assert [step_for_quality(small, quality).quality for quality in (1, 17, 18, 50, 51, 100)] == [1, 1, 18, 50, 50, 50]
    assert [step_for_quality(upper, quality).quality for quality in (1, 51, 74, 100)] == [51, 51, 51, 100]
    for quality in (0, 101):
        with pytest.raises(UsageError, match=r"1\.\.100"):
            step_for_quality(small, quality)


def test_the_middle_of_a_ladder_that_covers_it() -> None:
    assert default_step(config(1, 30, 49, 60, 100)).quality == 49
    assert default_step(config(1, 50)).quality == 50


def test_the_last_step_of_other_ladders() -> None:
    assert default_step(config(1, 40)).quality == 40
    assert default_step(config(51, 100)).quality == 100


def test_the_default_model() -> None:
    found = registry.find(registry.DEFAULT_MODEL).config
    assert default_step(found) == step_for_quality(found, DEFAULT_QUALITY)
    assert found.ladder[0].quality < DEFAULT_QUALITY < found.ladder[-1].quality
