"""Means of rows: the pictures that they cover, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from vqcodec.evaluation.means import summarise
from vqcodec.evaluation.measure import Row
from vqcodec.metrics import METRICS, Pixels

from ..stand_ins import GREY, Fixed, Staircase, measure

PSNR = METRICS["psnr"]


def test_means_are_over_the_same_pictures() -> None:
    class Sized(Fixed):
        def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
            yield 1, bytes([1, *pixels.shape[:2]]) + bytes(20 if pixels[0, 0, 0] == 50 else 97), 0.5

    pictures = [("none", GREY), ("one", GREY + 20), ("two", GREY + 60)]
    codecs = [Staircase([60]), Staircase([999], "huge")]
    rows = measure(pictures, [Sized([])], codecs, [PSNR])
    (line,) = summarise(rows, ["stairs", "huge"])
    assert (line.subset, line.model, line.setting, line.ours.n_pictures) == ("small", "fixed", 1, 3)
    ours = [row.scores["psnr"] for row in rows if row.matched_with is None]
    assert line.ours.values["psnr"] == pytest.approx(sum(ours) / 3)
    match = line.matches["stairs"]
    assert match is not None
    assert match.reference.n_pictures == match.ours.n_pictures == 2
    assert match.ours.values["psnr"] == pytest.approx(sum(ours[1:]) / 2)
    assert match.difference["psnr"] == pytest.approx(match.ours.values["psnr"] - match.reference.values["psnr"])
    assert match.difference["bpp"] == pytest.approx(4)
    assert line.matches["huge"] is None


def test_undefined_values_are_left_out_of_means() -> None:
    def row(name: str, value: float) -> Row:
        return Row(name, 9, 9, "small", "vqcodec", "m", 1, None, 9, 1.0, {"psnr": value, "ms_ssim": math.nan})

    (line,) = summarise([row("a", 30), row("b", math.nan), row("c", 40)], [])
    assert line.ours.values["psnr"] == 35
    assert math.isnan(line.ours.values["ms_ssim"])
    (line,) = summarise([row("a", 30), row("b", math.inf)], [])
    assert line.ours.values["psnr"] == math.inf


def test_summaries_go_by_subset_model_and_keep() -> None:
    def row(name: str, subset: str, model: str, keep: int) -> Row:
        return Row(name, 9, 9, subset, "vqcodec", model, keep, None, 9, 1.0, {})

    keys = [("hd", "n", 1), ("hd", "n", 2), ("hd", "m", 1), ("small", "n", 1), ("small", "n", 2), ("small", "m", 1)]
    lines = summarise([row(name, *key) for name in "ab" for key in keys], [])
    assert [(line.subset, line.model, line.setting) for line in lines] == keys[3:] + keys[:3]
    assert all(line.ours.n_pictures == 2 for line in lines)
