"""Functions of the benchmarks: means of missing indices, and BD-rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from benchmarks.means import entropy, med_bits
from benchmarks.preview_fill import expected
from tests.context_models import SIZES, a_prior, some_tiles
from vqcodec.encoder.index_selection import select_indices
from vqcodec.entropy.context_model import ContextModel

SHAPE = (9, 7)


def bits_of(model: ContextModel, planes: Sequence[np.ndarray]) -> np.ndarray:
    """Bits [S, h, w] of the indices of one tile."""

    def all_but_this(_: int, s: int, __: object) -> Callable[[np.ndarray], np.ndarray]:
        return lambda at: (np.arange(SIZES[s]) != planes[s].reshape(-1)[at, None]).astype(np.float32)

    [selection] = select_indices(model, all_but_this, np.zeros(3), [(SHAPE,) * 3], [[0], [1], [2]])
    return np.stack(selection.bits)


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors())


def test_expected_codewords_follow_the_model(model: ContextModel) -> None:
    """With one-hot codewords the means are the frequencies, from which the bits of the known indices follow."""
    [planes] = some_tiles(2, [SHAPE])
    means = expected(model, planes, [np.eye(size) for size in SIZES], known=1, feeds=False)
    assert not means[0].any()
    for mean in means[1:]:
        np.testing.assert_allclose(mean.sum(0), 1)
    # The first pass sees nothing of its own plane, as in a file.
    there = np.take_along_axis(means[1], planes[1][None], 0)[0]
    np.testing.assert_allclose(-np.log2(there)[::2, ::2], bits_of(model, planes)[1][::2, ::2], rtol=1e-5)


def test_expected_planes_as_context(model: ContextModel) -> None:
    [planes] = some_tiles(2, [SHAPE])
    books = [np.eye(size) for size in SIZES]
    fed, unfed = (expected(model, planes, books, known=1, feeds=feeds) for feeds in (True, False))
    np.testing.assert_array_equal(fed[1][:, ::2, ::2], unfed[1][:, ::2, ::2])
    assert (fed[1] != unfed[1]).any()
    assert (fed[2] != unfed[2]).any()
    planes[2][...] = 0
    for one, other in zip(fed, expected(model, planes, books, known=1, feeds=True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bd_rate_leaves_out_points_whose_quality_does_not_rise() -> None:
    pytest.importorskip("bjontegaard")
    from benchmarks.contributions import bd_rate

    curve = [(0.1 * 1.5**i, 25.0 + i, 10.0 + i) for i in range(6)]
    half = [(rate / 2, psnr, similar) for rate, psnr, similar in curve]
    assert bd_rate(curve, half, 1) == pytest.approx(-50, abs=0.1)
    assert bd_rate(curve, [*half, (half[3][0] * 1.1, 26.5, 11.5)], 2) == pytest.approx(-50, abs=0.1)


def test_bits_of_means_are_those_of_their_definitions() -> None:
    assert entropy(np.array([2, 0, 2, 4])) == pytest.approx(2 * 2 + 2 * 2 + 4 * 1)
    ramp = np.arange(6)[:, None] + 2 * np.arange(8)[None]
    assert med_bits(ramp) < 0.4 * entropy(np.bincount(ramp.ravel())), "only the borders are not predicted"
