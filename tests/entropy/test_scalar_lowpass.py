"""Low-pass pictures between wavelet levels: the float wavelet up to rounding, the same for numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.config.quantizers import GAINS, LARGEST
from vqcodec.entropy.scalar_known import KnownValues
from vqcodec.entropy.scalar_lowpass import FRACTION, LEVEL_1, LIMIT, STRIP, add_level, in_steps
from vqcodec.entropy.scalar_order import DETAILS, Band, layers_of
from vqcodec.transforms.lifting_arrays import unlift

Bands = tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]


def bands_of(shape: tuple[int, int], seed: int, size: float) -> Bands:
    """Low band in 1/8 steps and details in whole steps of a picture of `shape`."""
    rng = np.random.default_rng(seed)
    whole = np.round(rng.laplace(size=shape) * size).clip(-LARGEST, LARGEST).astype(np.int32)
    low = (8 * whole[0::2, 0::2] + rng.integers(-3, 4, whole[0::2, 0::2].shape)).astype(np.int32)
    return low, (whole[0::2, 1::2], whole[1::2, 0::2], whole[1::2, 1::2])


def by_float(low: np.ndarray, details: tuple[np.ndarray, ...], level: int) -> np.ndarray:
    """The result of `add_level` in steps by the wavelet of the encoder."""
    whole = np.zeros((1, low.shape[0] + details[1].shape[0], low.shape[1] + details[0].shape[1]), np.float32)
    whole[0, 0::2, 0::2] = low / 8 * (LEVEL_1 if level == 1 else 1)
    for (y, x), band in zip(((0, 1), (1, 0), (1, 1)), details, strict=True):
        whole[0, y::2, x::2] = band
    return unlift(whole, 1)[0]


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 99), st.integers(1, 4))
def test_a_level_is_that_of_the_float_wavelet(shape: tuple[int, int], seed: int, level: int) -> None:
    low, details = bands_of(shape, seed, 40.0)
    found = add_level(low, details, level)
    assert found.dtype == np.int32
    expected = by_float(low, details, level)
    # Weights are rounded to 1/1024: an error of less than 1/100 of the largest value, besides the rounding of sums.
    largest = max(np.abs(part).max(initial=0) for part in (low / 8, *details))
    assert found / 8 == pytest.approx(expected, abs=float(0.6 + 0.01 * largest))


def test_all_levels_are_within_a_step_of_the_float_wavelet() -> None:
    """Rounding does not add up: a picture of five levels is the inverse wavelet to within a step."""
    layers, shape = layers_of(3), (33, 20)
    rng = np.random.default_rng(3)
    known, bands = KnownValues(layers, shape), {}
    for layer in layers:
        for band, size in layer.shapes(shape).items():
            bands[band] = np.round(rng.laplace(size=size) * 2.0 ** min(band.level - 1, 4)).astype(np.int32)
            known.put(band, bands[band])
    for colour in range(3):
        expected = bands[Band(colour, 6, "low")].astype(np.float32)
        for level in range(5, -1, -1):
            h, v, d = (bands[Band(colour, level + 1, name)] for name in DETAILS)
            expected = by_float(8 * expected, (h, v, d), level + 1)
            found = known.lowpass(colour, level)
            assert found.shape == expected.shape
            assert np.abs(found / 8 - expected).max() < 1


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 12), st.integers(1, 12)), st.integers(1, 2), st.sampled_from([3.0, 1e5]))
def test_tensors_give_the_same(shape: tuple[int, int], level: int, size: float) -> None:
    low, details = bands_of(shape, 0, size)
    expected = add_level(low, details, level)
    h, v, d = (torch.from_numpy(np.stack([band, band])) for band in details)
    found = add_level(torch.from_numpy(np.stack([low, low])), (h, v, d), level)
    assert found.dtype == torch.int32
    assert (found.numpy() == expected).all()
    assert (in_steps(found).numpy() == (expected + 4) // 8).all()


def test_strips_have_no_seams() -> None:
    low, details = bands_of((2, 3 * STRIP // 2 + 1), 1, 30.0)
    whole = add_level(low, details, 2)
    h, v, d = (band[:, low.shape[1] - 50 :] for band in details)
    part = add_level(low[:, -50:], (h, v, d), 2)
    assert (part[:, 16:] == whole[:, -part.shape[1] :][:, 16:]).all()


def test_the_largest_values_do_not_overflow() -> None:
    """Products of the largest values stay within 32 bits: 64-bit integers give the same."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        low, *details = (rng.choice([-1, 1], (6, 6)) * n for n in (12 * LIMIT, LARGEST, LARGEST, LARGEST))
        found = add_level(low.astype(np.int32), tuple(band.astype(np.int32) for band in details), 1)
        assert np.abs(found).max() <= 12 * LIMIT
        assert (found == add_level(torch.from_numpy(low), tuple(map(torch.from_numpy, details)), 1).numpy()).all()


def test_the_gain_of_level_1_is_that_of_the_wavelet() -> None:
    assert pytest.approx(GAINS[1] / GAINS[2]) == LEVEL_1
    assert 2**FRACTION == 8
