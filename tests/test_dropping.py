"""What the measurements of dropped and missing layers rest on: bits and means of each index, and the layers kept."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptive_keep import at_rate, bits_of, by_block, entropy, kept_layers, map_bits
from benchmarks.preview_fill import expected
from tests.test_prior import SIZES, a_prior, some_tiles
from vqcodec.config import MISSING
from vqcodec.entropy.prior import ContextModel
from vqcodec.train.prior_report import integer_bits

SHAPE = (9, 7)


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors())


def test_bits_of_indices_add_up_to_those_of_the_planes(model: ContextModel) -> None:
    [planes] = some_tiles(1, [SHAPE])
    bits = bits_of(model, planes)
    assert bits.shape == (3, *SHAPE)
    np.testing.assert_allclose(bits.sum((1, 2)), integer_bits(model, [planes]), rtol=1e-9)


def test_bits_are_at_the_place_of_their_index(model: ContextModel) -> None:
    """An index of the last plane in the last pass is nobody's context: only its own bits change with it."""
    [planes] = some_tiles(1, [SHAPE])
    before = bits_of(model, planes)
    planes[2][3, 4] = (planes[2][3, 4] + 1) % SIZES[2]
    where = np.argwhere(bits_of(model, planes) != before)
    assert where.tolist() == [[2, 3, 4]]


def test_gaps_cost_nothing_themselves(model: ContextModel) -> None:
    [planes] = some_tiles(1, [SHAPE])
    before = bits_of(model, planes)
    planes[1][2:4] = MISSING
    after = bits_of(model, planes)
    assert not after[1, 2:4].any()
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[2] != before[2]).any()


def test_sums_over_blocks() -> None:
    values = np.arange(30.0).reshape(1, 5, 6)
    found = by_block(values, 4)
    assert found.shape == (1, 2, 2)
    assert found[0, 1, 1] == values[0, 4:, 4:].sum()
    assert found.sum() == values.sum()


def test_a_block_keeps_what_is_worth_its_bits() -> None:
    # What is left of the distortion as layers are added; the bits of each of three layers.
    distortion = np.array([[100.0, 100.0], [10.0, 90.0], [9.0, 80.0], [8.5, 10.0]])
    bits = np.array([[10.0, 10.0], [10.0, 10.0], [10.0, 10.0]])
    # Of the second block only the last layer pays, so that it needs those before.
    assert kept_layers(distortion, bits, 1).tolist() == [1, 3]
    assert kept_layers(distortion, bits, 0).tolist() == [3, 3]
    assert kept_layers(distortion, bits, 100).tolist() == [0, 0]


def test_an_even_map_is_cheaper() -> None:
    """One block among many that would gain by a count of its own, but less than that count costs."""
    distortion = np.tile(np.array([[20.0], [1.0], [0.5]]), 50)
    distortion[2, 0] = -4.5  # 5.5 for 4 bits, and 5.6 bits for being the only one
    bits = np.full((2, 50), 4.0)
    assert kept_layers(distortion, bits, 1).tolist() == [1] * 50
    distortion[2, 0] = -40
    assert kept_layers(distortion, bits, 1).tolist() == [2] + [1] * 49


def test_entropy_and_lines() -> None:
    assert entropy(np.array([3, 3, 5, 5])) == pytest.approx(4)
    assert entropy(np.zeros(9)) == 0
    even = np.arange(64) % 4
    assert map_bits(even, 16) > entropy(even)
    assert map_bits(np.zeros(64, np.int64), 16) < 64
    assert at_rate([(400, 2), (100, 0)], 200) == pytest.approx(1)


def test_the_next_plane_is_expected_as_the_model_says(model: ContextModel) -> None:
    """One-hot codewords make the means the frequencies themselves, which tell the bits of what is there."""
    [planes] = some_tiles(2, [SHAPE])
    means = expected(model, planes, [np.eye(size) for size in SIZES], known=1, feeds=False)
    assert not means[0].any()
    for mean in means[1:]:
        np.testing.assert_allclose(mean.sum(0), 1)
    # The first pass sees nothing of its own plane, as in a file.
    there = np.take_along_axis(means[1], planes[1][None], 0)[0]
    np.testing.assert_allclose(-np.log2(there)[::2, ::2], bits_of(model, planes)[1][::2, ::2], rtol=1e-6)


def test_what_is_expected_is_fed_on_or_not(model: ContextModel) -> None:
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
