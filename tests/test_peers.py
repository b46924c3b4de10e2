"""Functions of `benchmarks/peers.py`: parts of a picture, rounds, tables."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="the other codecs belong to the extra eval")

from benchmarks.contenders import Step, crop_of
from benchmarks.peers import Row, comparison, growth, timed


def test_parts_of_a_picture_have_the_size_asked_for() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    whole = np.asarray(picture)
    small, large = crop_of(picture, 0.015), crop_of(picture, 0.54)
    assert small.shape == (100, 150, 3)
    np.testing.assert_array_equal(small, whole[50:150, 75:225])
    assert large.shape == (600, 900, 3)
    np.testing.assert_array_equal(large[:200, :300], whole)
    np.testing.assert_array_equal(large[200:400, 300:600], whole[::-1, ::-1])


def test_calls_run_once_uncounted_to_warm_up() -> None:
    runs: list[str] = []
    steps = [Step("a", "encode", way, lambda way=way: runs.append(way)) for way in ("call", "command")]
    rows = timed(steps, 2, 1.0, warm_up=True)
    assert runs == ["call", "call", "command", "call", "command"]
    assert [len(row.seconds) for row in rows] == [2, 2]
    assert len(timed(steps, 1, 1.0, warm_up=False)[0].seconds) == 1
    assert runs[5:] == ["call", "command"]


def test_ratios_are_medians_within_rounds() -> None:
    ours = Row(2.0, "vqcodec", "encode, effort 6", "call", 0, [1.0, 10.0, 2.0])
    peer = Row(2.0, "webp", "encode", "call", 5000, [2.0, 5.0, 8.0])
    assert peer.ratio_to(ours) == 2
    head, *lines = comparison([ours, peer])
    assert head[-1] == "times vqcodec's call"
    assert lines == [
        ["vqcodec", "encode, effort 6", "call", "", "2.000", "1.000", "1"],
        ["webp", "encode", "call", "5,000", "5.000", "2.500", "2"],
    ]


def test_growth_compares_from_a_megapixel_on() -> None:
    rows = [Row(size, "vqcodec", "decode", "call", 0, [size * each]) for size, each in ((0.1, 9), (1, 2), (4, 3))]
    assert growth(rows) == [
        ["seconds/MP", "0.1 MP", "1 MP", "4 MP", "spread from 1 MP"],
        ["vqcodec decode call", "9.000", "2.000", "3.000", "1.50"],
    ]
