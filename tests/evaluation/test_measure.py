"""Rows of measured files: the rule of comparison, curves, and seconds."""

from __future__ import annotations

import math

import pytest

from vqcodec.evaluation.means import summarise
from vqcodec.evaluation.measure import subset_of
from vqcodec.metrics import METRICS

from ..stand_ins import GREY, Fixed, Staircase, measure

PSNR = METRICS["psnr"]


def test_rows_follow_the_rule() -> None:
    codec = Staircase([40, 60, 80])
    rows = measure([("a", GREY)], [Fixed([30, 50, 55, 90])], [codec], [PSNR])
    assert [(r.codec, r.model_setting, r.setting, r.matched_with, r.n_bytes) for r in rows] == [
        ("vqcodec", 1, 1, None, 30),
        ("vqcodec", 2, 2, None, 50),
        ("stairs", 2, 0, 2, 40),
        ("vqcodec", 3, 3, None, 55),
        ("stairs", 3, 0, 3, 40),
        ("vqcodec", 4, 4, None, 90),
        ("stairs", 4, 2, 4, 80),
    ]
    assert rows[0].bpp == 8 * 30 / 80
    assert rows[0].scores["psnr"] == pytest.approx(20 * math.log10(255 / 40))
    assert codec.decoded == 2  # the file of setting 0 is measured once for two keeps


def test_rows_of_curves_do_not_change_the_comparison() -> None:
    pictures = [("a", GREY)]
    plain = measure(pictures, [Fixed([30, 50, 55, 90])], [Staircase([40, 60, 80])], [PSNR], times=False)
    rows = measure(pictures, [Fixed([30, 50, 55, 90])], [Staircase([40, 60, 80])], [PSNR], times=False, curves=True)
    assert rows[: len(plain)] == plain
    curve = rows[len(plain) :]
    assert [(r.kind, r.codec, r.model, r.setting, r.matched_with) for r in curve] == [
        ("curve", "stairs", "", setting, None) for setting in range(3)
    ]
    assert {row.kind for row in plain} == {"ours", "match"}
    assert summarise(rows, ["stairs"]) == summarise(plain, ["stairs"])


def test_seconds() -> None:
    rows = measure([("a", GREY)], [Fixed([50])], [Staircase([40])], [PSNR])
    assert rows[0].seconds["encode_s"] == 0.5  # the codec's own value, which includes its share of the network
    assert all(row.seconds.keys() == {"encode_s", "decode_s"} for row in rows)
    assert all(value >= 0 for row in rows for value in row.seconds.values())
    assert list(rows[0].record())[-2:] == ["encode_s", "decode_s"]
    (line,) = summarise(rows, ["stairs"])
    assert line.ours.values["encode_s"] == 0.5
    (bare, _) = measure([("a", GREY)], [Fixed([50])], [Staircase([40])], [PSNR], times=False)
    assert bare.values.keys() == {"bpp", "psnr"}


def test_subsets_part_at_half_a_megapixel() -> None:
    assert subset_of(799, 625) == "small"
    assert subset_of(800, 625) == "hd"
