"""Files without a size option."""

from __future__ import annotations

from vqcodec.config.model import LadderStep, ModelConfig
from vqcodec.models import registry
from vqcodec.models.ladder import DEFAULT_QUALITY, default_step, step_for_quality


def config(*qualities: int) -> ModelConfig:
    from msgspec import structs

    steps = tuple(LadderStep(quality, 1, 1 / quality) for quality in qualities)
    return structs.replace(registry.find("photo").config, ladder=steps)


def test_the_middle_of_a_ladder_that_covers_it() -> None:
    assert default_step(config(1, 30, 49, 60, 100)).quality == 49
    assert default_step(config(1, 50)).quality == 50


def test_the_last_step_of_other_ladders() -> None:
    assert default_step(config(1, 40)).quality == 40
    assert default_step(config(51, 100)).quality == 100


def test_the_default_model() -> None:
    (found,) = registry.candidates().values()
    assert default_step(found) == step_for_quality(found, DEFAULT_QUALITY)
    assert found.ladder[0].quality < DEFAULT_QUALITY < found.ladder[-1].quality
