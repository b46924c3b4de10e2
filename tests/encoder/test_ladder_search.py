"""Search over a ladder with an encoder whose file sizes are a formula of the multiplier."""

from __future__ import annotations

import pytest

from vqcodec.config.model import LadderStep
from vqcodec.encoder.base import PictureEncoder, RecentResults
from vqcodec.encoder.ladder_search import CLOSE, MAX_TRIES, encode_at_least, encode_near
from vqcodec.tokens.tokens import Tokens

LADDER = tuple(
    LadderStep(10 * i + 1, keep, lmbda) for i, (keep, lmbda) in enumerate([(3, 64), (4, 16), (4, 4), (4, 1)])
)


class Formula(PictureEncoder):
    """Files of 4000 * keep / (4 + lmbda) bytes, `scale` times as many in the draft."""

    def __init__(self, uses_lmbda: bool = True, scale: float = 1.0) -> None:
        self.uses_lmbda, self.scale, self.ladder = uses_lmbda, scale, LADDER
        self.encoded: list[tuple[float, int]] = []
        self._draft = self if scale != 1 else Formula(uses_lmbda, 1.3)

    def tokens(self, lmbda: float, keep: int | None = None) -> Tokens:
        raise NotImplementedError

    def _encode(self, lmbda: float, keep: int) -> bytes:
        self.encoded.append((lmbda, keep))
        return bytes(int(self.scale * 4000 * keep / (4 + lmbda)))

    def file(self, lmbda: float, keep: int | None = None) -> bytes:
        return self._encode(lmbda, keep or 4)

    @property
    def draft(self) -> Formula:
        return self._draft


def quality(encoder: PictureEncoder, lmbda: float, keep: int) -> float:
    """Quality in proportion to the bytes."""
    return 0.01 * len(encoder.file(lmbda, keep))


SIZES = [len(Formula().file_at_step(i)) for i in range(len(LADDER))]


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_budget_between_two_steps_is_filled(step: int, share: float) -> None:
    budget = int(SIZES[step - 1] + share * (SIZES[step] - SIZES[step - 1]))
    encoder = Formula()
    under, over = encode_near(encoder, budget)
    assert under is not None
    assert CLOSE * budget <= len(under) <= budget < len(over)
    between = {lmbda for lmbda, _ in encoder.encoded} - {step.lmbda for step in LADDER}
    assert len(between) <= MAX_TRIES
    assert {keep for lmbda, keep in encoder.encoded if lmbda in between} <= {LADDER[step].keep}


def test_budgets_outside_the_ladder() -> None:
    under, over = encode_near(Formula(), SIZES[0] - 1)
    assert (under, len(over)) == (None, SIZES[0])
    under, over = encode_near(Formula(), SIZES[-1])
    assert under == over
    assert len(over) == SIZES[-1]


def test_without_multiplier_only_files_of_the_ladder_are_made() -> None:
    encoder = Formula(uses_lmbda=False)
    under, over = encode_near(encoder, SIZES[1] + 1)
    assert under is not None
    assert (len(under), len(over)) == (SIZES[1], SIZES[2])
    assert {lmbda for lmbda, _ in encoder.encoded} <= {step.lmbda for step in LADDER}


@pytest.mark.parametrize("target", [0.01 * SIZES[1] + 1, 0.01 * SIZES[2], 0.01 * SIZES[3] - 1])
def test_a_quality_is_reached_by_a_small_file(target: float) -> None:
    found = encode_at_least(Formula(), quality, target)
    assert found is not None
    assert target <= found.quality <= 1.05 * target
    assert found.quality == pytest.approx(0.01 * len(found.data))


def test_qualities_outside_the_ladder() -> None:
    assert encode_at_least(Formula(), quality, 0.01 * SIZES[-1] + 1) is None
    found = encode_at_least(Formula(), quality, 0.1)
    assert found is not None
    assert found.data == Formula().file(LADDER[0].lmbda, 1)


def test_recent_results_are_computed_once() -> None:
    computed: list[int] = []
    recent = RecentResults[int, int](2)

    def value(key: int) -> int:
        return recent.get(key, lambda: computed.append(key) or key)

    assert [value(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert computed == [1, 2, 3, 2]
