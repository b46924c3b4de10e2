"""Coding order of scalar planes: each position once, neighbours coded before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.entropy.scalar_order import passes, seen


@settings(max_examples=80)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_each_position_once_and_neighbours_before(h: int, w: int, pyramid: bool) -> None:
    done = np.zeros(h * w, bool)
    for part in passes((h, w), pyramid):
        assert part.neighbours.shape == (len(seen(part.kind)), len(part.positions))
        assert done[part.neighbours].all()
        assert not done[part.positions].any()
        done[part.positions] = True
    assert done.all()


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("first", 0),
        ("row", 6),
        ("row2", 10),
        ("column", 10),
        ("column2", 14),
        ("diagonal", 16),
        ("diagonal2", 20),
        ("cross", 12),
    ],
)
def test_neighbours_of_a_kind(kind: str, count: int) -> None:
    assert len(seen(kind)) == count


def test_inner_neighbours_are_where_they_should_be() -> None:
    part = next(p for p in passes((33, 33), True) if p.kind == "row2" and p.level == 1)
    i = next(i for i, position in enumerate(part.positions) if divmod(int(position), 33) == (16, 22))
    found = {divmod(int(n), 33) for n in part.neighbours[:, i]}
    assert found == {(16 + 2 * dy, 22 + 2 * dx) for dy, dx in seen("row2")}
