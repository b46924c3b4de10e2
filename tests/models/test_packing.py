"""Weights in 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.models.weights_int8 import PARTS, SCALE, pack, unpack

A = "encoder.a"


@given(st.integers(1, 5), st.integers(1, 40), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_packed_weights_are_close(rows: int, columns: int, size: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, columns, 1)).astype(np.float32) * np.float32(size)
    packed = pack({"encoder.w": values})
    assert packed["encoder.w"].dtype == np.int8
    found = unpack(packed)["encoder.w"]
    bound = abs(values).reshape(rows, -1).max(1).reshape(-1, 1, 1) / 254
    assert (abs(found - values) <= bound * 1.001).all()


def test_only_matrices_of_the_prefix_are_packed() -> None:
    tensors = {name: np.ones((3, 2), np.float16) for name in ("encoder.a", "decoder.a")}
    tensors["encoder.bias"] = np.ones(3, np.float16)
    packed = pack(tensors)
    assert {name for name, value in packed.items() if value.dtype == np.int8} == {"encoder.a"}
    assert packed["decoder.a"] is tensors["decoder.a"]
    assert set(unpack(packed)) == set(tensors)


def test_of_a_decoder_only_the_inner_layers_are_packed() -> None:
    names = ("encoder.a", "decoder.head.weight", "decoder.linear.weight", "decoder.stages.0.0.conv1.weight")
    tensors = {name: np.full((3, 2), 0.5, np.float16) for name in names}
    packed = pack(tensors, ("decoder",))
    assert {name for name, value in packed.items() if value.dtype == np.int8} == {names[-1]}
    assert {name for name, value in pack(tensors, tuple(PARTS)).items() if value.dtype == np.int8} == {
        names[0],
        names[-1],
    }
    assert all(abs(value - 0.5).max() < 1e-6 for value in unpack(packed).values())
    assert pack(tensors, ()) == tensors


def test_a_row_of_zeros_stays_one() -> None:
    assert not unpack(pack({"encoder.a": np.zeros((2, 3), np.float32)}))["encoder.a"].any()


@pytest.mark.parametrize(
    "tensors",
    [
        {A + SCALE: np.ones(3, np.float32)},
        {A: np.ones((3, 2), np.float16), A + SCALE: np.ones(3, np.float32)},
        {A: np.ones((3, 2), np.int8), A + SCALE: np.ones(2, np.float32)},
        {A: np.ones((3, 2), np.int8), A + SCALE: np.ones(3, np.float64)},
        {A: np.ones((3, 2), np.int8), A + SCALE: np.full(3, np.nan, np.float32)},
        {A: np.ones((3, 2), np.int8), A + SCALE: np.full(3, 3e38, np.float32)},
        {A: np.ones((3, 2), np.int8)},
        {"decoder.a": np.ones((3, 2), np.int8), "decoder.a" + SCALE: np.ones(3, np.float32)},
    ],
)
def test_what_cannot_be_unpacked_is_refused(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"not the scale|holds a scale|no scales"):
        unpack(tensors)
