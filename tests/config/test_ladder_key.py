"""The stored key of a ladder step's multiplier."""

from __future__ import annotations

from msgspec import to_builtins

from vqcodec.config.model import LadderStep
from vqcodec.config.reading import read


def test_the_multiplier_is_stored_as_rate() -> None:
    step = read(LadderStep, {"quality": 5, "keep": 2, "rate": 0.5})
    assert step.lmbda == 0.5
    assert to_builtins(step) == {"quality": 5, "keep": 2, "rate": 0.5}
