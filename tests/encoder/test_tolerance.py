"""Tolerance of errors by texture."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.encoder.tolerance import EXPONENT, FLOOR, tolerance_of


def test_texture_tolerates_more_than_a_smooth_area() -> None:
    pixels = np.full((64, 96, 3), 120, np.uint8)
    pixels[:, 48:] = np.random.default_rng(0).integers(0, 256, (64, 48, 1), np.uint8)
    found = tolerance_of(pixels, 8)
    assert found.shape == (8, 12)
    variance = pixels[:, 64:].var()
    expected = ((variance + FLOOR) / FLOOR) ** EXPONENT
    assert found[:, 8:] / found[:, :4].max() == pytest.approx(expected, rel=0.1)
    assert expected > 1.5
    assert float(np.log(found).mean()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (9, 17)])
def test_any_size(shape: tuple[int, int]) -> None:
    found = tolerance_of(np.zeros((*shape, 3), np.uint8), 8)
    assert found.shape == (-(-shape[0] // 8), -(-shape[1] // 8))
    assert found == pytest.approx(1)
