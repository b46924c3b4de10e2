"""Rate sweeps: the largest file within a size, and the settings of a curve."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqcodec.evaluation.rate_sweep import POINTS, RateSweep
from vqcodec.metrics import METRICS

from ..stand_ins import GREY, Staircase

PSNR = METRICS["psnr"]
STEADY = [100 + 10 * i for i in range(49)]


def psnr_of(grey: int) -> float:
    """PSNR of a grey picture against GREY, dB."""
    return 20 * math.log10(255 / abs(50 - grey))


@pytest.mark.parametrize(("limit", "setting"), [(9, None), (10, 0), (19, 0), (20, 1), (55, 4), (100, 9), (5000, 9)])
def test_largest_file_not_larger(limit: int, setting: int | None) -> None:
    codec = Staircase(list(range(10, 101, 10)))
    assert RateSweep(codec, GREY).largest_within(limit) == setting


def test_neighbours_guard_against_dips() -> None:
    codec = Staircase([10, 20, 30, 40, 62, 58, 70, 80])
    sweep = RateSweep(codec, GREY)
    assert sweep.largest_within(60) == 5  # bisection alone ends at 3
    assert sweep.largest_within(58) == 5
    assert sweep.largest_within(57) == 3


def test_a_dip_at_the_bottom_is_found() -> None:
    assert RateSweep(Staircase([30, 25, 40, 50]), GREY).largest_within(27) == 1


def test_search_encodes_once_and_ignores_earlier_searches() -> None:
    # Setting 7 dips far below its neighbours: a search for 33 bytes must not find it just because another one looked.
    sizes = [10, 20, 30, 40, 50, 60, 70, 33, 90, 100, 110, 120]
    alone = RateSweep(Staircase(sizes), GREY).largest_within(33)
    codec = Staircase(sizes)
    sweep = RateSweep(codec, GREY)
    for limit in (120, 75, 100, 50):
        sweep.largest_within(limit)
    assert sweep.largest_within(33) == alone == 2
    assert len(codec.encoded) == len(set(codec.encoded))


def test_too_large_a_picture_has_no_file() -> None:
    sweep = RateSweep(Staircase([10]), np.zeros((1, 1001, 3), np.uint8))
    assert sweep.largest_within(99) is None
    assert sweep.curve_settings({}, {}) == []


def test_a_curve_spans_the_qualities_asked_for() -> None:
    codec = Staircase(STEADY)
    tried = RateSweep(codec, GREY, [PSNR]).curve_settings({"psnr": psnr_of(9)}, {"psnr": psnr_of(15)})
    assert {0, 1, 2, 4, 8, 16, 32} <= set(tried)
    assert max(tried) == 32
    assert sum(8 <= setting <= 16 for setting in tried) >= POINTS
    assert sorted(codec.encoded) == tried
    assert len(tried) <= 12


def test_a_curve_goes_on_to_the_highest_quality() -> None:
    assert 48 in RateSweep(Staircase(STEADY), GREY, [PSNR]).curve_settings({"psnr": psnr_of(9)}, {"psnr": psnr_of(45)})
    low, high = {"psnr": psnr_of(9)}, {"psnr": 99.0}  # out of reach
    assert 48 in RateSweep(Staircase(STEADY), GREY, [PSNR]).curve_settings(low, high)


def test_a_curve_far_from_the_qualities_asked_for_has_the_shared_stops_alone() -> None:
    stops = [0, 1, 2, 4, 8, 16, 32]
    assert RateSweep(Staircase(STEADY), GREY, [PSNR]).curve_settings({"psnr": 1.0}, {"psnr": 2.0}) == stops
    assert RateSweep(Staircase(STEADY), GREY, [PSNR]).curve_settings({}, {}) == stops  # nothing finite to reach
    assert RateSweep(Staircase([10]), GREY, [PSNR]).curve_settings({"psnr": 1.0}, {"psnr": 2.0}) == [0]


def test_a_curve_of_every_metric_reaches_the_higher_one() -> None:
    sweep = RateSweep(Staircase(STEADY), GREY, [PSNR])
    for setting in range(49):
        sweep.measured(setting).scores["other"] = setting
    assert max(sweep.curve_settings({"psnr": psnr_of(2), "other": 1}, {"psnr": psnr_of(5), "other": 40})) == 48
