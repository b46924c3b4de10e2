"""The command `vqcodec eval` with stand-ins for the models: pictures, options, tables and reports."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.cli.evaluate.choices import parse_range
from vqcodec.errors import InputError, ModelError, OutputError, UsageError
from vqcodec.evaluation.codecs import default_codecs
from vqcodec.evaluation.model_codec import ByLayers, ByQuality
from vqcodec.evaluation.pictures import find

from ..conftest import write_tiny_model
from ..stand_ins import run, stand_in
from ..test_metrics import picture


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of the stand-ins' networks."""
    return stand_in(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "deep").mkdir(parents=True)
    Image.fromarray(picture(64, 80)).save(pictures / "b.png")
    Image.fromarray(picture(48, 40, 1)).save(pictures / "a.PNG")
    Image.fromarray(picture(32, 15_625)).save(pictures / "deep" / "c.jpg")  # exactly 0.5 megapixels
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def test_vqc_runs_the_network_once(model: list[str]) -> None:
    files = list(ByLayers("photo").files(picture(40, 40)))
    assert [keep for keep, _, _ in files] == [1, 2, 3, 4]
    assert model == ["photo"]


def test_seconds_of_a_file_are_the_network_once_and_its_own_coding(
    model: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def taking(seconds: float, call: Any) -> Any:
        def slow(*args: Any, **options: Any) -> Any:
            nonlocal now
            now += seconds
            return call(*args, **options)

        return slow

    monkeypatch.setattr("vqcodec.evaluation.model_codec.time.perf_counter", lambda: now)
    monkeypatch.setattr(vqcodec, "tokenize", taking(100, vqcodec.tokenize))
    monkeypatch.setattr(vqcodec, "encode_tokens", taking(3, vqcodec.encode_tokens))
    seconds = []
    for _, _, encode_s in ByLayers("photo").files(picture(40, 40)):
        seconds.append(encode_s)
        now += 1000  # time between two files counts for neither
    assert seconds == [103] * 4


@pytest.mark.parametrize("kind", [ByLayers, ByQuality])
def test_files_are_those_of_the_effort(kind: type[ByLayers]) -> None:
    with Image.open(Path(__file__).parents[2] / "samples" / "still_life.png") as image:
        part = image.convert("RGB").crop((0, 0, 64, 64))
    tokens = vqcodec.tokenize(part, "product-vq", effort=1)
    last = list(kind("product-vq", effort=1).files(np.asarray(part)))[-1][1]
    assert last == vqcodec.encode(part, "product-vq", effort=1) == vqcodec.encode_tokens(tokens)
    assert last != vqcodec.encode(part, "product-vq")


def test_a_model_in_a_folder_that_no_file_would_be_decoded_with(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    write_tiny_model(folder, "unknown", seed=5)
    pixels = picture(40, 56)
    codec = ByLayers(str(folder))
    tokens = vqcodec.tokenize(pixels, str(folder))
    for keep, data, _ in codec.files(pixels):
        with pytest.raises(ModelError, match="not installed"):
            vqcodec.decode(data)
        shown = vqcodec.detokenize(tokens, keep=keep).convert("RGB")
        np.testing.assert_array_equal(codec.decode(data), np.asarray(shown))


KEEPS = (1, 2, 3, 4)
COLUMNS = "picture width height subset codec model kind setting rival_of bytes bpp psnr ms_ssim patch".split()


@pytest.mark.slow
def test_json_report(model: list[str], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    printed = run(folder, "-o", out, "--codecs", "vqcodec,jpeg", "--limit", "2", "--no-times")
    report = json.loads(out.read_text())
    names = [str(folder / name) for name in ("a.PNG", "b.png", "deep/c.jpg")]
    ours = [row for row in report["rows"] if row["codec"] == "vqcodec"]
    assert [(row["picture"], row["setting"]) for row in ours] == [(name, keep) for name in names for keep in KEEPS]
    assert list(ours[0]) == COLUMNS
    assert [(line["subset"], line["keep"], line["pictures"]) for line in report["summary"]] == [
        *[("small", keep, 2) for keep in KEEPS],
        *[("hd", keep, 1) for keep in KEEPS],
    ]
    for row in report["rows"]:
        if row["rival_of"]:
            (own,) = [o for o in ours if (o["picture"], o["setting"]) == (row["picture"], row["rival_of"])]
            assert row["bytes"] <= own["bytes"]
    jpeg = report["summary"][2]["rivals"]["jpeg"]
    assert jpeg["pictures"] == 2
    assert jpeg["ours_minus_rival"]["psnr"] == pytest.approx(jpeg["ours_there"]["psnr"] - jpeg["psnr"])
    assert "progressive" in report["rivals"]["jpeg"]
    assert report["skipped"] == []
    assert "under 0.5 megapixels" in printed
    assert "0.5 megapixels and more" in printed
    assert "2 of 2" in printed
    again = tmp_path / "again.json"
    run(folder, "-o", again, "--codecs", "vqcodec,jpeg", "--no-times")
    assert again.read_bytes() == out.read_bytes()


def test_csv_report_of_a_shard(model: list[str], folder: Path, tmp_path: Path) -> None:
    shard, out = tmp_path / "val.tar", tmp_path / "report.csv"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(folder.rglob("*.*")):
            tar.add(path, path.name)
    run(shard, "-o", out, "--codecs", "vqcodec", "--metrics", "psnr", "-m", "other", "-m", "photo", "--limit", 1)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [(row["picture"], row["model"], row["setting"]) for row in rows] == [
        (f"{shard}:{name}", name_of_model, keep)
        for name in ("a.PNG", "c.jpg")
        for name_of_model in ("other", "photo")
        for keep in "1234"
    ]
    assert "ms_ssim" not in rows[0]
    assert rows[0]["rival_of"] == ""
    assert rows[0]["kind"] == "ours"
    assert float(rows[0]["encode_s"]) > 0
    assert float(rows[0]["decode_s"]) > 0
    assert float(rows[0]["bpp"]) == pytest.approx(8 * int(rows[0]["bytes"]) / (40 * 48))


def test_reports_spell_values_that_json_cannot_hold(model: list[str], tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    Image.new("RGB", (16, 16), (128, 128, 128)).save(flat)  # a JPEG of it is exact; too small for MS-SSIM
    printed = run(flat, "-o", tmp_path / "r.json", "--codecs", "vqcodec,webp")
    line = json.loads((tmp_path / "r.json").read_text())["summary"][0]
    assert (line["psnr"], line["ms_ssim"]) == ("inf", None)
    assert "inf" in printed
    run(flat, "-o", tmp_path / "r.csv", "--codecs", "vqcodec")
    assert next(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))["psnr"] == "inf"


def test_a_codec_without_a_file_has_no_line(model: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.evaluation.rate_sweep.RateSweep.largest_within", lambda *_: None)
    printed = run(folder / "b.png", "--codecs", "vqcodec,webp", "--bd-anchor", "none")
    assert "n/a" not in printed
    assert not [line for line in printed.splitlines() if line.startswith(" ") and "webp" in line]


def test_damaged_pictures_are_skipped_and_named(model: list[str], folder: Path, tmp_path: Path) -> None:
    damaged = folder / "broken.png"
    damaged.write_bytes((folder / "b.png").read_bytes()[:300])
    run(folder, "-o", tmp_path / "r.json", "--codecs", "vqcodec", "--limit", 9)
    report = json.loads((tmp_path / "r.json").read_text())
    assert len(report["rows"]) == 3 * len(KEEPS)
    (reason,) = report["skipped"]
    assert reason.startswith(f"{damaged}: ")
    assert "<bytes>" not in reason
    with pytest.raises(InputError, match="none of 1"):
        run(damaged, "--codecs", "vqcodec", "--quiet")


def test_find(folder: Path, tmp_path: Path) -> None:
    twice = find([folder / "b.png", folder, folder / "deep"])
    assert [source.path.name for source in twice] == ["b.png", "a.PNG", "c.jpg"]
    with pytest.raises(InputError, match="no such file"):
        find([tmp_path / "missing"])
    with pytest.raises(InputError, match="no picture"):
        find([tmp_path / "pictures" / "deep", Path(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")])
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(InputError, match="tar shard"):
        find([tmp_path / "bad.tar"])


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["-o", "report.txt"], UsageError, r"\.json or \.csv"),
        (["-o", "taken.json"], OutputError, "exists already"),
        (["-o", "report.html", "--codecs", "jpeg,jpeg2"], UsageError, "no codec 'jpeg2'"),
        (["--codecs", "vqcodec,jxl"], UsageError, r"pillow-jxl-plugin.*vqcodec\[eval\]"),
        (["--plot", "curve.png"], UsageError, r"--plot curve.png: a figure needs matplotlib.*vqcodec\[eval\]"),
        (["--plot", "curve.jpg"], UsageError, r"\.png, \.svg or \.pdf"),
        (["--bd-anchor", "jpeg"], UsageError, r"--bd-anchor needs bjontegaard.*vqcodec\[eval\]"),
        (["--bd-range", "0.1,1"], UsageError, "bjontegaard"),
        (["--bd-anchor", "jxl"], UsageError, "use one of jpeg, webp, avif, none"),
        (["--codecs", "vqcodec,webp", "--bd-anchor", "jpeg"], UsageError, "use one of webp, none"),
        (["--codecs", "vqcodec,webp", "--bd-range", "0.1,1"], UsageError, "bjontegaard"),
        (["--bd-anchor", "none", "--bd-range", "0.1,1"], UsageError, "no BD-rates"),
        (["--bd-range", "1,0.1"], UsageError, "for example"),
        (["--cache", "taken.json"], OutputError, "folder"),
        (["--codecs", "vqcodec,bmp"], UsageError, "no codec 'bmp'"),
        (["--metrics", "vmaf"], UsageError, "no metric 'vmaf'"),
        (["--metrics", ","], UsageError, "at least one"),
        (["-m", "photo", "-m", "photos"], ModelError, "photos"),
    ],
)
def test_mistakes_end_before_any_work(
    words: list[str],
    kind: type[Exception],
    message: str,
    model: list[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken.json").write_text("mine")
    for extra in ("pillow_jxl", "matplotlib.figure", "bjontegaard"):
        monkeypatch.setitem(sys.modules, extra, None)  # as if it were not installed
    with pytest.raises(kind, match=message):
        run(folder, *words)
    assert model == []
    assert Path("taken.json").read_text() == "mine"


def test_force_overwrites(model: list[str], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    out.write_text("old")
    run(folder / "b.png", "-o", out, "-f", "--codecs", "vqcodec")
    assert out.read_text().startswith("picture,width")


def test_without_the_extra_all_but_the_bd_rates_is_there(
    model: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    said = []
    monkeypatch.setattr("vqcodec.cli.messages.say", said.append)
    run(folder / "b.png", "-o", tmp_path / "r.json", "--codecs", "vqcodec,jpeg")
    report = json.loads((tmp_path / "r.json").read_text())
    assert "bd_rate" not in report
    assert {row["kind"] for row in report["rows"]} == {"ours", "match"}
    (line,) = [line for line in said if line.startswith("no BD-rates")]
    assert "vqcodec[eval]" in line
    run(folder / "b.png", "--codecs", "vqcodec,jpeg", "--quiet")
    run(folder / "b.png", "--codecs", "vqcodec,jpeg", "--bd-anchor", "none")
    assert sum(line.startswith("no BD-rates") for line in said) == 1


def test_ranges() -> None:
    assert parse_range("0.05,0.8") == (0.05, 0.8)
    assert parse_range(" 0 , 1 ") == (0, 1)
    assert parse_range("0.1,inf") == (0.1, math.inf)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "2,1", "1,1", "-1,1", "nan,1", "0,nan"])
def test_no_ranges(text: str) -> None:
    with pytest.raises(UsageError, match="--bd-range"):
        parse_range(text)


def test_times_are_printed_unless_they_are_left_out(model: list[str], folder: Path) -> None:
    assert "encode s" in run(folder / "b.png", "--codecs", "vqcodec")
    assert "encode s" not in run(folder / "b.png", "--codecs", "vqcodec", "--no-times")


def test_a_real_model_against_real_codecs(tiny_model: str, tmp_path: Path) -> None:
    """One complete evaluation of a small picture."""
    Image.fromarray(picture(70, 64)).save(tmp_path / "p.png")
    printed = run(tmp_path / "p.png", "-m", tiny_model, "-o", tmp_path / "r.json", "--cache", tmp_path / "cache")
    assert f"vqcodec {tiny_model}" in printed or f"{tiny_model}, pictures" in printed
    report = json.loads((tmp_path / "r.json").read_text())
    assert {row["codec"] for row in report["rows"]} == {"vqcodec", *default_codecs()}
    assert all(row["encode_s"] > 0 and row["decode_s"] > 0 for row in report["rows"])
    assert len(list((tmp_path / "cache").iterdir())) == len(default_codecs())
