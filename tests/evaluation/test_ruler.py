"""The rule of comparison, the files of a rival's curve, the real rivals, and the means."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import UsageError
from vqcodec.evaluation.codecs import RIVALS, Rival, make_rival
from vqcodec.evaluation.means import summarise
from vqcodec.evaluation.measure import Row, measure, subset_of
from vqcodec.evaluation.rate_sweep import POINTS, Ladder
from vqcodec.metrics import METRICS, Pixels

from ..stand_ins import GREY, Fixed, Staircase
from ..test_metrics import picture

PSNR = METRICS["psnr"]


def real(name: str) -> Rival:
    """The rival called `name`, for tests that go without it where its library is missing."""
    if name == "jxl":
        pytest.importorskip("pillow_jxl", reason="JPEG XL comes with pillow-jxl-plugin, of the extra `eval`")
    return make_rival(name)


def psnr_of(grey: int) -> float:
    """Of a grey picture beside GREY, dB."""
    return 20 * math.log10(255 / abs(50 - grey))


@pytest.mark.parametrize(("limit", "setting"), [(9, None), (10, 0), (19, 0), (20, 1), (55, 4), (100, 9), (5000, 9)])
def test_largest_file_not_larger(limit: int, setting: int | None) -> None:
    rival = Staircase(list(range(10, 101, 10)))
    assert Ladder(rival, GREY).largest_within(limit) == setting


def test_neighbours_guard_against_dips() -> None:
    rival = Staircase([10, 20, 30, 40, 62, 58, 70, 80])
    ladder = Ladder(rival, GREY)
    assert ladder.largest_within(60) == 5  # bisection alone ends at 3
    assert ladder.largest_within(58) == 5
    assert ladder.largest_within(57) == 3


def test_a_dip_at_the_bottom_is_found() -> None:
    assert Ladder(Staircase([30, 25, 40, 50]), GREY).largest_within(27) == 1


def test_search_encodes_once_and_ignores_earlier_searches() -> None:
    # Setting 7 dips far below its neighbours: a search for 33 bytes must not find it just because another one looked.
    sizes = [10, 20, 30, 40, 50, 60, 70, 33, 90, 100, 110, 120]
    alone = Ladder(Staircase(sizes), GREY).largest_within(33)
    rival = Staircase(sizes)
    ladder = Ladder(rival, GREY)
    for limit in (120, 75, 100, 50):
        ladder.largest_within(limit)
    assert ladder.largest_within(33) == alone == 2
    assert len(rival.encoded) == len(set(rival.encoded))


def test_too_large_a_picture_has_no_file() -> None:
    ladder = Ladder(Staircase([10]), np.zeros((1, 1001, 3), np.uint8))
    assert ladder.largest_within(99) is None
    assert ladder.span({}, {}) == []


def test_rows_follow_the_rule() -> None:
    rival = Staircase([40, 60, 80])
    rows = measure([("a", GREY)], [Fixed([30, 50, 55, 90])], [rival], [PSNR])
    assert [(r.codec, r.keep, r.setting, r.rival_of, r.n_bytes) for r in rows] == [
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
    assert rival.decoded == 2  # the file of setting 0 is measured once for two keeps


def test_rows_of_curves_are_beside_the_comparison() -> None:
    pictures = [("a", GREY)]
    plain = measure(pictures, [Fixed([30, 50, 55, 90])], [Staircase([40, 60, 80])], [PSNR], times=False)
    rows = measure(pictures, [Fixed([30, 50, 55, 90])], [Staircase([40, 60, 80])], [PSNR], times=False, curves=True)
    assert rows[: len(plain)] == plain
    curve = rows[len(plain) :]
    assert [(r.kind, r.codec, r.model, r.setting, r.rival_of) for r in curve] == [
        ("curve", "stairs", "", setting, None) for setting in range(3)
    ]
    assert {row.kind for row in plain} == {"ours", "match"}
    assert summarise(rows, ["stairs"]) == summarise(plain, ["stairs"])


def test_seconds() -> None:
    rows = measure([("a", GREY)], [Fixed([50])], [Staircase([40])], [PSNR])
    assert rows[0].seconds["encode_s"] == 0.5  # what the codec says, for it knows what belongs to the file
    assert all(row.seconds.keys() == {"encode_s", "decode_s"} for row in rows)
    assert all(value >= 0 for row in rows for value in row.seconds.values())
    assert list(rows[0].record())[-2:] == ["encode_s", "decode_s"]
    (line,) = summarise(rows, ["stairs"])
    assert line.ours.values["encode_s"] == 0.5
    (bare, _) = measure([("a", GREY)], [Fixed([50])], [Staircase([40])], [PSNR], times=False)
    assert bare.values.keys() == {"bpp", "psnr"}


STEADY = [100 + 10 * i for i in range(49)]


def test_a_curve_spans_the_qualities_asked_for() -> None:
    rival = Staircase(STEADY)
    tried = Ladder(rival, GREY, [PSNR]).span({"psnr": psnr_of(9)}, {"psnr": psnr_of(15)})
    assert {0, 1, 2, 4, 8, 16, 32} <= set(tried)
    assert max(tried) == 32
    assert sum(8 <= setting <= 16 for setting in tried) >= POINTS
    assert sorted(rival.encoded) == tried
    assert len(tried) <= 12


def test_a_curve_goes_on_to_the_highest_quality() -> None:
    assert 48 in Ladder(Staircase(STEADY), GREY, [PSNR]).span({"psnr": psnr_of(9)}, {"psnr": psnr_of(45)})
    low, high = {"psnr": psnr_of(9)}, {"psnr": 99.0}  # out of reach
    assert 48 in Ladder(Staircase(STEADY), GREY, [PSNR]).span(low, high)


def test_a_curve_far_from_the_qualities_asked_for_has_the_shared_stops_alone() -> None:
    stops = [0, 1, 2, 4, 8, 16, 32]
    assert Ladder(Staircase(STEADY), GREY, [PSNR]).span({"psnr": 1.0}, {"psnr": 2.0}) == stops
    assert Ladder(Staircase(STEADY), GREY, [PSNR]).span({}, {}) == stops  # nothing finite to reach
    assert Ladder(Staircase([10]), GREY, [PSNR]).span({"psnr": 1.0}, {"psnr": 2.0}) == [0]


def test_a_curve_of_every_metric_reaches_the_higher_one() -> None:
    ladder = Ladder(Staircase(STEADY), GREY, [PSNR])
    for setting in range(49):
        ladder.measured(setting).scores["other"] = setting
    assert max(ladder.span({"psnr": psnr_of(2), "other": 1}, {"psnr": psnr_of(5), "other": 40})) == 48


def test_means_are_over_the_same_pictures() -> None:
    class Sized(Fixed):
        def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
            yield 1, bytes([1, *pixels.shape[:2]]) + bytes(20 if pixels[0, 0, 0] == 50 else 97), 0.5

    pictures = [("none", GREY), ("one", GREY + 20), ("two", GREY + 60)]
    rivals = [Staircase([60]), Staircase([999], "huge")]
    rows = measure(pictures, [Sized([])], rivals, [PSNR])
    (line,) = summarise(rows, ["stairs", "huge"])
    assert (line.subset, line.model, line.keep, line.ours.n_pictures) == ("small", "fixed", 1, 3)
    ours = [row.scores["psnr"] for row in rows if row.rival_of is None]
    assert line.ours.values["psnr"] == pytest.approx(sum(ours) / 3)
    match = line.rivals["stairs"]
    assert match is not None
    assert match.rival.n_pictures == match.ours.n_pictures == 2
    assert match.ours.values["psnr"] == pytest.approx(sum(ours[1:]) / 2)
    assert match.difference["psnr"] == pytest.approx(match.ours.values["psnr"] - match.rival.values["psnr"])
    assert match.difference["bpp"] == pytest.approx(4)
    assert line.rivals["huge"] is None


def test_undefined_values_are_left_out_of_means() -> None:
    def row(name: str, value: float) -> Row:
        return Row(name, 9, 9, "small", "vqcodec", "m", 1, None, 9, 1.0, {"psnr": value, "ms_ssim": math.nan})

    (line,) = summarise([row("a", 30), row("b", math.nan), row("c", 40)], [])
    assert line.ours.values["psnr"] == 35
    assert math.isnan(line.ours.values["ms_ssim"])
    (line,) = summarise([row("a", 30), row("b", math.inf)], [])
    assert line.ours.values["psnr"] == math.inf


def test_subsets_part_at_half_a_megapixel() -> None:
    assert subset_of(799, 625) == "small"
    assert subset_of(800, 625) == "hd"


def test_summaries_go_by_subset_model_and_keep() -> None:
    def row(name: str, subset: str, model: str, keep: int) -> Row:
        return Row(name, 9, 9, subset, "vqcodec", model, keep, None, 9, 1.0, {})

    keys = [("hd", "n", 1), ("hd", "n", 2), ("hd", "m", 1), ("small", "n", 1), ("small", "n", 2), ("small", "m", 1)]
    lines = summarise([row(name, *key) for name in "ab" for key in keys], [])
    assert [(line.subset, line.model, line.keep) for line in lines] == keys[3:] + keys[:3]
    assert all(line.ours.n_pictures == 2 for line in lines)


@pytest.mark.parametrize("name", RIVALS)
def test_real_rivals(name: str) -> None:
    rival = real(name)
    pixels = picture(48, 64)
    low, high = (rival.encode(pixels, setting) for setting in (rival.settings[10], rival.settings[-6]))
    assert len(low) < len(high)
    assert rival.encode(pixels, rival.settings[10]) == low
    assert rival.decode(low).shape == pixels.shape
    assert PSNR.measure(pixels, rival.decode(high)) > PSNR.measure(pixels, rival.decode(low))
    limit = (len(low) + len(high)) // 2
    setting = Ladder(rival, pixels).largest_within(limit)
    assert setting is not None
    assert len(low) <= len(rival.encode(pixels, setting)) <= limit
    assert Ladder(rival, pixels).largest_within(20) is None
    assert "quality" in rival.describe()


def test_jpeg_is_progressive_and_bare() -> None:
    with Image.open(io.BytesIO(make_rival("jpeg").encode(picture(32, 32), 40))) as image:
        assert image.info.get("progressive")
        assert not {"exif", "icc_profile", "comment"} & set(image.info)


def test_threads_do_not_change_a_jxl_file() -> None:
    rival = real("jxl")
    pixels = picture(300, 280)
    bare = io.BytesIO()
    Image.fromarray(pixels).save(bare, "JXL", quality=40, effort=7, num_threads=0)
    assert rival.encode(pixels, 40) == bare.getvalue()


def test_unknown_and_missing_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="jpeg, webp, avif, jxl"):
        make_rival("gif")
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"jxl needs pillow-jxl-plugin.*'vqcodec\[eval\]'"):
        make_rival("jxl")
