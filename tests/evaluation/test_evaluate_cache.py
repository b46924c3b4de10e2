"""The cache of rivals' files: the same report without making them again, and nothing taken for what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from vqcodec.errors import InputError, OutputError
from vqcodec.evaluation.cache import RivalCache
from vqcodec.evaluation.codecs import Jpeg
from vqcodec.evaluation.measure import Row, measure
from vqcodec.evaluation.rate_sweep import Ladder
from vqcodec.metrics import METRICS

from ..stand_ins import GREY, Fixed, Staircase, run, stand_in
from ..test_metrics import picture

PSNR, SSIM = METRICS["psnr"], METRICS["ms-ssim"]
SIZES = [40, 60, 80, 100, 120]


def rows(rival: Staircase, folder: Path | None, metrics: tuple[str, ...] = ("psnr",)) -> list[Row]:
    cache = None if folder is None else RivalCache(folder)
    pictures = [("a", GREY), ("b", GREY + 20)]
    chosen = [METRICS[name] for name in metrics]
    return measure(pictures, [Fixed([50, 90])], [rival], chosen, curves=True, times=False, cache=cache)


def test_the_same_rows_and_no_second_file(tmp_path: Path) -> None:
    plain = rows(Staircase(SIZES), None)
    assert rows(Staircase(SIZES), tmp_path / "made" / "here") == plain
    again = Staircase(SIZES)
    assert rows(again, tmp_path / "made" / "here") == plain
    assert again.encoded == []
    assert again.decoded == 0


def test_sizes_that_are_known_serve_another_search(tmp_path: Path) -> None:
    cache = RivalCache(tmp_path)
    first = cache.ladder(Staircase(SIZES), GREY, [PSNR])
    first.largest_within(90)
    cache.keep(first)
    rival = Staircase(SIZES)
    ladder = cache.ladder(rival, GREY, [PSNR])
    assert ladder.largest_within(85) == 2
    assert rival.encoded == []
    assert ladder.measured(2).scores == Ladder(Staircase(SIZES), GREY, [PSNR]).measured(2).scores
    assert rival.encoded == [2]  # known by its size alone


def test_another_metric_measures_again_and_keeps_the_seconds(tmp_path: Path) -> None:
    rows(Staircase(SIZES), tmp_path)
    before = RivalCache(tmp_path).ladder(Staircase(SIZES), GREY, [PSNR]).files
    both = rows(Staircase(SIZES), tmp_path, ("psnr", "ms-ssim"))
    assert both == pytest.approx(both)
    after = RivalCache(tmp_path).ladder(Staircase(SIZES), GREY, [PSNR]).files
    assert {k: file.encode_s for k, file in after.items()} == {k: file.encode_s for k, file in before.items()}
    again = Staircase(SIZES)
    rows(again, tmp_path, ("ms-ssim",))
    assert again.encoded == []


def test_pictures_codecs_and_versions_are_told_apart(tmp_path: Path) -> None:
    cache = RivalCache(tmp_path)
    ladder = cache.ladder(Staircase(SIZES), GREY, [PSNR])
    ladder.measured(1)
    cache.keep(ladder)
    assert cache.ladder(Staircase(SIZES), GREY, [PSNR]).files.keys() == {1}
    assert not cache.ladder(Staircase(SIZES), GREY + 1, [PSNR]).files
    assert not cache.ladder(Staircase(SIZES), GREY.reshape(10, 8, 3), [PSNR]).files
    assert not cache.ladder(Staircase(SIZES, "newer"), GREY, [PSNR]).files


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    cache = RivalCache(tmp_path)
    cache.keep(cache.ladder(Staircase(SIZES), GREY, [PSNR]))
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


def test_another_encoder_of_the_same_description_is_noticed(tmp_path: Path) -> None:
    cache = RivalCache(tmp_path)
    ladder = cache.ladder(Staircase(SIZES), GREY, [PSNR])
    ladder.size(1)
    cache.keep(ladder)
    with pytest.raises(InputError, match="stairs at 1 gives 61 bytes, the cache says 60"):
        cache.ladder(Staircase([40, 61]), GREY, [PSNR]).measured(1)


def test_what_was_learnt_before_an_interruption_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ladder, "span", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rows(Staircase(SIZES), tmp_path)
    assert RivalCache(tmp_path).ladder(Staircase(SIZES), GREY, [PSNR]).files


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be a folder"):
        RivalCache(tmp_path / "file")
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
