"""Residual tables: round trips of every integer, also beyond the reach of its table, and of cut streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.entropy.rans import TileDecoder, TileEncoder
from vqcodec.entropy.scalar_residuals import FRACTIONS, TOTAL, UNKNOWN, ResidualTables

from ..rans import AnsDecoder


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


@pytest.mark.parametrize(("share", "rest"), [(0.02, 0), (0.02, 7), (0.5, 14), (0.0, 3), (1.0, 3)])
def test_one_row_for_all_others_is_the_same(share: float, rest: int) -> None:
    rng = np.random.default_rng(0)
    n = 5000
    at = np.flatnonzero(rng.random(n) < share)
    row = np.full(n, rest)
    row[at] = rng.integers(0, 15, len(at))
    residual = np.round(rng.laplace(size=n) * np.where(rng.random(n) < 0.001, 1000, 0.3)).astype(np.int32)
    streams = []
    for arguments in ((row, residual.copy()), (row[at], residual.copy(), at, rest)):
        encoder = TileEncoder()
        tables().code(encoder, *arguments)
        encoder.end_layer()
        streams += encoder.segments()
    assert streams[0] == streams[1]
    for rows, *others in ((row,), (row[at], at, rest)):
        found = np.ones(n, np.int32)
        decoder = TileDecoder(streams[:1], False)
        tables().code(decoder, rows, found, *others)
        decoder.finish()
        assert (found == residual).all()
    # A cut stream holds the same first values in the order of coding.
    cut = [streams[0][: len(streams[0]) // 8 * 4]]
    parts = [np.zeros(n, np.int32) for _ in range(2)]
    tables().code(TileDecoder(cut, True), row, parts[0])
    tables().code(TileDecoder(cut, True), row[at], parts[1], at, rest)
    assert (parts[0] == parts[1]).all()
    assert UNKNOWN in parts[0]
    assert ((parts[0] == residual) | (parts[0] == UNKNOWN)).all()


def test_likely_symbols_are_decoded_by_the_same_bounds() -> None:
    """Long runs of symbols under a table with one likely symbol have another search."""
    table = np.array([3, 1, 60000, 500, 1, 77, 2000, 9], np.float32)
    symbols = np.random.default_rng(0).choice(8, 3000, p=table / table.sum()).astype(np.int32)
    encoder = TileEncoder()
    encoder.code(table, symbols)
    (segment,) = encoder.segments()
    independent = AnsDecoder(segment)
    assert [independent.decode(table.astype(int).tolist()) for _ in symbols] == symbols.tolist()
    found = np.zeros_like(symbols)
    decoder = TileDecoder([segment], False)
    decoder.code(table, found)
    decoder.finish()
    assert (found == symbols).all()


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
