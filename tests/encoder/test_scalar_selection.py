"""Selection of scalar values: what a bit may cost by position, and that lower cost is preferred."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from vqcodec.encoder.scalar_selection import select_values
from vqcodec.entropy.scalar_context import MODEL, ScalarContext

from ..stepped import LEVELS, WIDTHS

SHAPE = (16, 24)
STEP = 20


@pytest.fixture(scope="module")
def model(stepped_folder: Path) -> ScalarContext:
    tensors = load_file(stepped_folder / "model.safetensors")
    return ScalarContext(LEVELS, {name: value for name, value in tensors.items() if name.startswith(MODEL)})


@pytest.fixture(scope="module")
def coefficients() -> np.ndarray:
    return np.random.default_rng(7).laplace(size=(sum(WIDTHS), *SHAPE)).astype(np.float32)


def select(model: ScalarContext, coefficients: np.ndarray, weight: float, tolerance: float) -> np.ndarray:
    of_positions = np.full(SHAPE, tolerance, np.float32)
    return select_values(model.at(STEP), coefficients, weight, range(len(WIDTHS)), of_positions)


def test_free_bits_give_the_nearest_values(model: ScalarContext, coefficients: np.ndarray) -> None:
    assert (select(model, coefficients, 0.0, 1.0) == np.round(coefficients)).all()


def test_tolerance_weights_bits_except_in_the_low_band(model: ScalarContext, coefficients: np.ndarray) -> None:
    usual, tolerant = (select(model, coefficients, 1.0, tolerance) for tolerance in (1.0, 3.0))
    low, rest = slice(0, WIDTHS[0]), slice(WIDTHS[0], None)
    assert (usual[low] == tolerant[low]).all()
    assert np.count_nonzero(tolerant[rest]) < 0.9 * np.count_nonzero(usual[rest])


def test_dear_bits_leave_fewer_values(model: ScalarContext, coefficients: np.ndarray) -> None:
    counts = [np.count_nonzero(select(model, coefficients, weight, 1.0)) for weight in (0.5, 1.0, 2.0)]
    assert counts[0] > counts[1] > counts[2]
