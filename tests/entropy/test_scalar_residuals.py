"""Residual tables: round trips of every integer, also beyond the reach of its table, and of cut streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.entropy.rans import TileDecoder, TileEncoder
from vqcodec.entropy.scalar_residuals import FRACTIONS, TOTAL, UNKNOWN, ResidualTables


def tables(classes: int = 3) -> ResidualTables:
    rows = []
    for i in range(classes * FRACTIONS):
        reach = 2 + i // FRACTIONS
        row = np.ones(2 * reach + 2, np.int64)
        row[reach] = TOTAL - row.sum() + 1
        rows.append(row)
    return ResidualTables(rows)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(-1500, 1500)), min_size=1, max_size=80), st.integers(0, 99))
def test_round_trip(pairs: list[tuple[int, int]], cut: int) -> None:
    model = tables()
    row, residual = (np.array(part) for part in zip(*pairs, strict=True))
    encoder = TileEncoder()
    model.code(encoder, row, residual.astype(np.int32))
    encoder.end_layer()
    (segment,) = encoder.segments()
    found = np.zeros(len(row), np.int32)
    decoder = TileDecoder([segment], False)
    model.code(decoder, row, found)
    decoder.finish()
    assert (found == residual).all()
    part = np.zeros(len(row), np.int32)
    model.code(TileDecoder([segment[: len(segment) * cut // 400 * 4]], True), row, part)
    assert ((part == residual) | (part == UNKNOWN)).all()


def test_bits_are_those_of_the_table() -> None:
    model = tables()
    row = np.array([0, 0, 7])
    bits = model.bits_of(row, np.array([0, 2, 900]))
    assert bits[0] == pytest.approx(np.log2(TOTAL / model.rows[0][2]))
    assert bits[1] == pytest.approx(16)
    assert bits[2] > 16  # an escape and its excess


@pytest.mark.parametrize("row", [[TOTAL], [1, 2, TOTAL - 3], [0, TOTAL], [1, TOTAL], [1] * 513 + [TOTAL - 513, 0]])
def test_wrong_tables_are_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match="residual table 0"):
        ResidualTables([np.array(row)])
