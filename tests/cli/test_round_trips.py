"""Round trips of images of every mode, size, metadata and option: nothing changes or is lost without a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.round_trip_cases import Case, cases
from benchmarks.round_trips import run_case

CASES = list(cases())
FAST = 4
"""Every FAST-th case is no slow test."""


def test_number_of_cases() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.slow] * bool(i % FAST)) for i, case in enumerate(CASES)],
)
def test_round_trip(tmp_path: Path, tiny_model: str, case: Case) -> None:
    assert run_case(case, tmp_path, tiny_model, effort=1).faults == []
