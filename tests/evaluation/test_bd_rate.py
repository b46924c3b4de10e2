"""BD-rates: curves, values known by definition, and the pictures, models and codecs that they cover."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from vqcodec.evaluation.bd_rate import Anchor, BdRate, Curve, bd_rate, bd_rates, best_of, decibels
from vqcodec.evaluation.measure import OURS, Row
from vqcodec.metrics import METRICS

from ..stand_ins import run, stand_in
from ..test_metrics import picture

PSNR, SSIM = METRICS["psnr"], METRICS["ms-ssim"]

needs_library = pytest.mark.usefixtures("library")


@pytest.fixture
def library() -> None:
    pytest.importorskip("bjontegaard", reason="BD-rates come with bjontegaard, of the extra `eval`")


def test_a_curve_rises_in_both() -> None:
    curve = Curve.of([(0.4, 30), (0.1, 20), (0.2, 19), (0.3, 25), (0.3, 26), (0.5, 30)])
    assert curve == Curve((0.1, 0.3, 0.4), (20, 26, 30))


@pytest.mark.parametrize(
    ("lowest", "highest", "qualities"),
    [
        (21, 23, (20, 22, 24)),
        (22, 24, (22, 24)),
        (10, 21, (20, 22)),
        (25, 40, (24, 26)),
        (1, 2, (20,)),
        (30, 40, (26,)),
        (1, 99, (20, 22, 24, 26)),
    ],
)
def test_the_part_around_some_qualities(lowest: float, highest: float, qualities: tuple[float, ...]) -> None:
    curve = Curve((1, 2, 3, 4), (20, 22, 24, 26)).around(lowest, highest)
    assert curve.quality == qualities
    assert len(curve.bpp) == len(qualities)


def test_best_of_curves_that_cross() -> None:
    low = Curve((0.1, 0.2, 0.4), (20, 23, 24))
    high = Curve((0.2, 0.4, 0.8), (20, 26, 30))
    assert best_of([low, high]) == Curve((0.1, 0.2, 0.4, 0.8), (20, 23, 26, 30))
    assert best_of([low]) == low
    assert best_of([low, low]) == low


def test_best_of_has_no_sag() -> None:
    """The weak model's last points are on the Pareto front of all points, yet below the strong model's curve."""
    strong = Curve((0.1, 0.2), (20, 24))
    weak = Curve((0.05, 0.11, 0.15), (15, 20.1, 20.2))
    assert best_of([strong, weak]) == Curve((0.05, 0.1, 0.2), (15, 20, 24))


def test_decibels() -> None:
    assert decibels(PSNR, 31.5) == 31.5
    assert decibels(SSIM, 0.99) == pytest.approx(20)
    assert decibels(SSIM, 1.0) == math.inf
    assert math.isnan(decibels(SSIM, math.nan))


ANCHOR = Curve((0.1, 0.2, 0.4, 0.8), (20, 23, 27, 30))


@needs_library
def test_a_constant_factor_is_the_bd_rate() -> None:
    half = Curve(tuple(bpp / 2 for bpp in ANCHOR.bpp), ANCHOR.quality)
    assert bd_rate(ANCHOR, half) == pytest.approx((-50, 20, 30))
    assert bd_rate(half, ANCHOR) == pytest.approx((100, 20, 30))


@needs_library
def test_a_case_worked_by_hand() -> None:
    """Over 20 to 40 dB log2 of the anchor's rate rises by 1 per 10 dB; the test's is lower, evenly less so.

    log2(test / anchor) is -1 at 20 dB, -0.5 at 30 dB, 0 at 40 dB, and the cubics are straight lines there. Its mean is
    -0.5, so the BD-rate is 2**-0.5 - 1 = -29.29 %.
    """
    anchor = Curve((0.1, 0.2, 0.4), (20, 30, 40))
    test = Curve((0.1 * 2**-1, 0.2 * 2**-0.5, 0.4), (20, 30, 40))
    assert bd_rate(anchor, test) == pytest.approx((100 * (2**-0.5 - 1), 20, 40))


@needs_library
def test_only_the_common_range_counts() -> None:
    # Half the rate from 20 dB on; the anchor has no point below.
    anchor = Curve((0.1, 0.2, 0.4), (20, 23, 26))
    test = Curve((0.049, 0.05, 0.1, 0.2), (17, 20, 23, 26))
    percent, low, high = bd_rate(anchor, test) or (math.nan,) * 3
    assert (low, high) == (20, 26)
    assert percent == pytest.approx(-50, abs=2)  # the point below bends the curve a little


@needs_library
def test_no_bd_rate() -> None:
    assert bd_rate(ANCHOR, Curve((0.1, 0.2), (20, 30))) is None
    assert bd_rate(ANCHOR, Curve((0.1, 0.2, 0.3), (30, 31, 32))) is None
    assert bd_rate(ANCHOR, Curve((0.1, 0.2, 0.3), (10, 15, 19))) is None


def row(name: str, codec: str, model: str, setting: int, bpp: float, psnr: float, matched: int | None = None) -> Row:
    return Row(name, 9, 9, "small", codec, model, setting, matched, 9, bpp, {"psnr": psnr})


def own(name: str, model: str, factor: float, offset: float = 0) -> list[Row]:
    points = zip(ANCHOR.bpp, ANCHOR.quality, strict=True)
    return [row(name, OURS, model, k, bpp * factor, quality + offset) for k, (bpp, quality) in enumerate(points, 1)]


def reference(name: str, codec: str, factor: float, offset: float = 0) -> list[Row]:
    points = zip(ANCHOR.bpp, ANCHOR.quality, strict=True)
    return [row(name, codec, "", k, bpp * factor, quality + offset) for k, (bpp, quality) in enumerate(points)]


def rates(rows: list[Row], anchor: Anchor = Anchor("jpeg"), codecs: str = "jpeg webp") -> dict[str, BdRate]:  # noqa: B008
    return {f"{rate.codec} {rate.model}".strip(): rate for rate in bd_rates(rows, codecs.split(), [PSNR], anchor)}


@needs_library
def test_means_over_pictures() -> None:
    rows = own("a", "m", 0.5) + own("b", "m", 1.1) + own("c", "m", 1, 50)
    rows += [r for name in "abc" for r in reference(name, "jpeg", 1)] + reference("a", "webp", 2)
    found = rates(rows)
    assert list(found) == ["vqcodec m", "webp"]
    assert found["vqcodec m"].percent == pytest.approx((-50 + 10) / 2)
    assert (found["vqcodec m"].n_pictures, found["vqcodec m"].n_all) == (2, 3)
    assert found["webp"].percent == pytest.approx(100)
    assert (found["webp"].n_pictures, found["webp"].common_range) == (1, pytest.approx(1))


@needs_library
def test_nothing_to_compare_with() -> None:
    found = rates(own("a", "m", 0.5))
    assert math.isnan(found["vqcodec m"].percent)
    assert found["webp"].n_pictures == 0


@needs_library
def test_a_reference_codec_counts_around_the_qualities_of_models() -> None:
    rows = [r for r in own("a", "m", 1) if 23 <= r.scores["psnr"] <= 27]
    rows += [row("a", OURS, "m", 9, 0.3, 25)]
    rows += reference("a", "jpeg", 1) + reference("a", "webp", 0.5)
    rows += [
        row("a", "webp", "", 8, 0.15, 25),
        row("a", "webp", "", 9, 40, 33),
    ]  # far above the model's
    rows += [row("a", "jpeg", "", 8, 0.30, 25), row("a", "jpeg", "", 9, 8, 33)]
    found = rates(rows)
    assert found["webp"].percent == pytest.approx(-50, abs=1)
    assert found["webp"].common_range == pytest.approx(1)


@needs_library
def test_matched_files_are_points_of_a_curve_once() -> None:
    rows = own("a", "m", 0.5) + reference("a", "jpeg", 1)
    matched = [row("a", "jpeg", "m", r.setting, r.bpp, r.scores["psnr"], keep) for keep, r in enumerate(rows[4:], 1)]
    assert rates(rows + matched) == rates(rows)
    assert rates(rows[:4] + matched) == rates(rows)


@needs_library
def test_models_together() -> None:
    rows = own("a", "low", 0.5)[:3] + own("a", "high", 0.5)[1:] + reference("a", "jpeg", 1)
    found = rates(rows)
    assert list(found) == ["vqcodec low", "vqcodec high", "vqcodec best of low, high", "webp"]
    best = found["vqcodec best of low, high"]
    assert best.percent == pytest.approx(-50)
    assert best.common_range == 1
    assert found["vqcodec low"].common_range == pytest.approx(0.7)
    assert found["vqcodec high"].common_range == pytest.approx(0.7)


@needs_library
def test_a_range_of_rates_leaves_files_out() -> None:
    rows = own("a", "m", 0.5) + reference("a", "jpeg", 1)
    limited = rates(rows, Anchor("jpeg", (0.05, 0.4)))["vqcodec m"]
    assert limited.percent == pytest.approx(-50, abs=1)
    assert limited.common_range == pytest.approx(0.7)  # 20 to 27 of 20 to 30 dB
    assert rates(rows, Anchor("jpeg", (0.0, 0.2)))["vqcodec m"].n_pictures == 0


@needs_library
def test_infinite_and_undefined_scores_are_no_points() -> None:
    rows = own("a", "m", 0.5) + reference("a", "jpeg", 1)
    odd = [row("a", OURS, "m", 9, 2, math.inf), row("a", "jpeg", "", 9, 3, math.inf)]
    odd += [row("b", OURS, "m", 1, 1, math.nan)]
    assert rates(rows + odd)["vqcodec m"].percent == rates(rows)["vqcodec m"].percent


@needs_library
def test_subsets_are_apart() -> None:
    rows = own("a", "m", 0.5) + reference("a", "jpeg", 1)
    hd = [replace(r, subset="hd") for r in own("b", "m", 2) + reference("b", "jpeg", 1)]
    found = bd_rates(hd + rows, ["jpeg"], [PSNR], Anchor("jpeg"))
    assert [(rate.subset, round(rate.percent)) for rate in found] == [("small", -50), ("hd", 100)]


@needs_library
def test_the_command_prints_and_reports_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    Image.fromarray(picture(64, 80)).save(tmp_path / "p.png")
    words = [tmp_path / "p.png", "-f", "-o", tmp_path / "r.json", "--codecs", "vqcodec,jpeg,webp"]
    printed = run(*words, "-m", "photo", "-m", "other")
    assert "BD-rate against jpeg" in printed
    assert "best of photo, other" in printed
    part = json.loads((tmp_path / "r.json").read_text())["bd_rate"]
    assert (part["anchor"], part["bpp_range"]) == ("jpeg", None)
    assert "pchip" in part["rule"]
    assert {(line["codec"], line["metric"]) for line in part["rates"]} == {
        (codec, metric) for codec in ("vqcodec", "webp") for metric in ("psnr", "ms_ssim")
    }
    # The stand-ins' files are JPEG, not optimized: a little larger at the same quality.
    (photo,) = [r for r in part["rates"] if (r["model"], r["metric"]) == ("photo", "psnr")]
    assert photo["pictures"] == photo["of"] == 1
    assert photo["bd_rate_percent"] == photo["bd_rate_least"] == photo["bd_rate_largest"] > 0
    printed = run(*words, "--bd-anchor", "webp", "--bd-range", "0.1,9")
    assert "BD-rate against webp, pictures of under 0.5 megapixels" in printed
    assert "files of 0.1 to 9 bpp only" in " ".join(printed.split())  # captions are folded
    part = json.loads((tmp_path / "r.json").read_text())["bd_rate"]
    assert part["bpp_range"] == [0.1, 9]
    assert [line["codec"] for line in part["rates"]] == ["vqcodec"] * 2 + ["jpeg"] * 2
    printed = run(*words, "--bd-anchor", "none")
    assert "BD-rate" not in printed
    report = json.loads((tmp_path / "r.json").read_text())
    assert "bd_rate" not in report
    assert {row["kind"] for row in report["rows"]} == {"ours", "match"}
