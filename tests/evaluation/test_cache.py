"""The cache of reference codecs' measurements: equal reports without encoding again, and no result of another file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from vqcodec.errors import InputError, OutputError
from vqcodec.evaluation.cache import SweepCache
from vqcodec.evaluation.codecs import Jpeg
from vqcodec.evaluation.measure import Row
from vqcodec.evaluation.rate_sweep import RateSweep
from vqcodec.metrics import METRICS

from ..stand_ins import GREY, Fixed, Staircase, measure, run, stand_in
from ..test_metrics import picture

PSNR, SSIM = METRICS["psnr"], METRICS["ms-ssim"]
SIZES = [40, 60, 80, 100, 120]


def rows(codec: Staircase, folder: Path | None, metrics: tuple[str, ...] = ("psnr",)) -> list[Row]:
    cache = None if folder is None else SweepCache(folder)
    pictures = [("a", GREY), ("b", GREY + 20)]
    chosen = [METRICS[name] for name in metrics]
    return measure(pictures, [Fixed([50, 90])], [codec], chosen, curves=True, times=False, cache=cache)


def test_equal_rows_without_encoding_again(tmp_path: Path) -> None:
    plain = rows(Staircase(SIZES), None)
    assert rows(Staircase(SIZES), tmp_path / "made" / "here") == plain
    again = Staircase(SIZES)
    assert rows(again, tmp_path / "made" / "here") == plain
    assert again.encoded == []
    assert again.decoded == 0


def test_stored_sizes_serve_another_search(tmp_path: Path) -> None:
    cache = SweepCache(tmp_path)
    first = cache.load(Staircase(SIZES), GREY, [PSNR])
    first.largest_within(90)
    cache.store(first)
    codec = Staircase(SIZES)
    sweep = cache.load(codec, GREY, [PSNR])
    assert sweep.largest_within(85) == 2
    assert codec.encoded == []
    assert sweep.measured(2).scores == RateSweep(Staircase(SIZES), GREY, [PSNR]).measured(2).scores
    assert codec.encoded == [2]  # only its size was stored


def test_another_metric_measures_again_and_keeps_the_seconds(tmp_path: Path) -> None:
    rows(Staircase(SIZES), tmp_path)
    before = SweepCache(tmp_path).load(Staircase(SIZES), GREY, [PSNR]).files
    both = rows(Staircase(SIZES), tmp_path, ("psnr", "ms-ssim"))
    assert both == pytest.approx(both)
    after = SweepCache(tmp_path).load(Staircase(SIZES), GREY, [PSNR]).files
    assert {k: file.encode_s for k, file in after.items()} == {k: file.encode_s for k, file in before.items()}
    again = Staircase(SIZES)
    rows(again, tmp_path, ("ms-ssim",))
    assert again.encoded == []


def test_pictures_codecs_and_versions_have_separate_results(tmp_path: Path) -> None:
    cache = SweepCache(tmp_path)
    sweep = cache.load(Staircase(SIZES), GREY, [PSNR])
    sweep.measured(1)
    cache.store(sweep)
    assert cache.load(Staircase(SIZES), GREY, [PSNR]).files.keys() == {1}
    assert not cache.load(Staircase(SIZES), GREY + 1, [PSNR]).files
    assert not cache.load(Staircase(SIZES), GREY.reshape(10, 8, 3), [PSNR]).files
    assert not cache.load(Staircase(SIZES, "newer"), GREY, [PSNR]).files


def test_no_new_result_writes_no_file(tmp_path: Path) -> None:
    cache = SweepCache(tmp_path)
    cache.store(cache.load(Staircase(SIZES), GREY, [PSNR]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"files": {"x": {}}}', '{"files": {"1": {"size": 4}}}', "\0"])
def test_a_damaged_file_is_replaced(text: str, tmp_path: Path) -> None:
    plain = rows(Staircase(SIZES), tmp_path)
    for path in tmp_path.iterdir():
        path.write_text(text)
    again = Staircase(SIZES)
    assert rows(again, tmp_path) == plain
    assert again.encoded
    for path in tmp_path.iterdir():
        assert json.loads(path.read_text())["rival"] == "stairs"


def test_another_encoder_with_the_same_description_is_refused(tmp_path: Path) -> None:
    cache = SweepCache(tmp_path)
    sweep = cache.load(Staircase(SIZES), GREY, [PSNR])
    sweep.size(1)
    cache.store(sweep)
    with pytest.raises(InputError, match="stairs at 1 gives 61 bytes, the cache has 60"):
        cache.load(Staircase([40, 61]), GREY, [PSNR]).measured(1)


def test_results_before_an_interruption_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(RateSweep, "curve_settings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rows(Staircase(SIZES), tmp_path)
    assert SweepCache(tmp_path).load(Staircase(SIZES), GREY, [PSNR]).files


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be a folder"):
        SweepCache(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_command_reports_the_same_with_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    Image.fromarray(picture(64, 80)).save(tmp_path / "p.png")
    words = [tmp_path / "p.png", "--codecs", "vqcodec,jpeg,webp", "--no-times", "-f", "-o"]
    run(*words, tmp_path / "plain.json")
    run(*words, tmp_path / "first.json", "--cache", tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(Jpeg, "encode", None)  # would raise
        run(*words, tmp_path / "second.json", "--cache", tmp_path / "cache")
    plain = (tmp_path / "plain.json").read_bytes()
    assert (tmp_path / "first.json").read_bytes() == plain
    assert (tmp_path / "second.json").read_bytes() == plain
