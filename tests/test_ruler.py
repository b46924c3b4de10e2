"""The rule of comparison, the real rivals, the means, and the command with a stand-in for the model."""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import vqcodec
from vqcodec.cli.evaluate import evaluate, find
from vqcodec.cli.rivals import RIVALS, Ladder, make_rival
from vqcodec.cli.ruler import Row, Vqc, measure, subset_of, summarise
from vqcodec.errors import InputError, ModelError, OutputError, UsageError
from vqcodec.metrics import METRICS, Pixels

from .conftest import write_tiny_model
from .test_metrics import picture

PSNR = METRICS["psnr"]


class Staircase:
    """A rival whose file sizes are given; its picture is grey, the brighter the higher the setting."""

    name = "stairs"
    max_side_px = 1000

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.settings = range(len(sizes))
        self.encoded: list[int] = []
        self.decoded = 0

    def encode(self, pixels: Pixels, setting: int) -> bytes:
        self.encoded.append(setting)
        return bytes([setting, *pixels.shape[:2]]) + bytes(self.sizes[setting] - 3)

    def decode(self, data: bytes) -> Pixels:
        self.decoded += 1
        return np.full((data[1], data[2], 3), data[0], np.uint8)

    def describe(self) -> str:
        return "stairs"


class Fixed:
    """Our side with given sizes, one for each keep; keep k decodes to grey of value 10 * k."""

    def __init__(self, sizes: list[int], model: str = "fixed") -> None:
        self.sizes = sizes
        self.model = model

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes]]:
        for keep, size in enumerate(self.sizes, 1):
            yield keep, bytes([keep, *pixels.shape[:2]]) + bytes(size - 3)

    def decode(self, data: bytes) -> Pixels:
        return np.full((data[1], data[2], 3), 10 * data[0], np.uint8)


GREY = np.full((8, 10, 3), 50, np.uint8)


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
    assert Ladder(Staircase([10]), np.zeros((1, 1001, 3), np.uint8)).largest_within(99) is None


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


def test_means_are_over_the_same_pictures() -> None:
    class Sized(Fixed):
        def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes]]:
            yield 1, bytes([1, *pixels.shape[:2]]) + bytes(20 if pixels[0, 0, 0] == 50 else 97)

    pictures = [("none", GREY), ("one", GREY + 20), ("two", GREY + 60)]
    rivals = [Staircase([60]), Staircase([999])]
    rivals[1].name = "huge"  # type: ignore[misc]
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
    rival = make_rival(name)
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


def test_unknown_and_missing_rivals() -> None:
    with pytest.raises(UsageError, match="eval extra"):
        make_rival("jxl")
    with pytest.raises(UsageError, match="jpeg"):
        make_rival("gif")


@dataclass
class StandIn:
    """Tokens of a model with three layers, whose files are plain JPEG."""

    pixels: Pixels
    n_layers: int = 3


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts the stand-in in the model's place; returns the calls made to its network."""
    calls: list[str] = []

    def tokenize(image: Pixels, model: str = "photo", *, device: str = "cpu") -> StandIn:
        calls.append(model)
        return StandIn(image)

    def encode_tokens(tokens: StandIn, *, keep: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(tokens.pixels).save(file, "JPEG", quality=(2, 40, 80)[keep - 1])
        return file.getvalue()

    def decode(_: Vqc, data: bytes) -> Pixels:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def lookup(name: str) -> None:
        if name not in ("photo", "other"):
            raise ModelError(f"{name}: no such model")

    for name, fake in (("tokenize", tokenize), ("encode_tokens", encode_tokens)):
        monkeypatch.setattr(vqcodec, name, fake)
    monkeypatch.setattr(Vqc, "decode", decode)
    monkeypatch.setattr("vqcodec.registry.find", lookup)
    return calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "deep").mkdir(parents=True)
    Image.fromarray(picture(64, 80)).save(pictures / "b.png")
    Image.fromarray(picture(48, 40, 1)).save(pictures / "a.PNG")
    Image.fromarray(picture(32, 15_625)).save(pictures / "deep" / "c.jpg")  # exactly 0.5 megapixels
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def run(*words: object) -> str:
    app = typer.Typer()
    app.command("eval")(evaluate)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_vqc_runs_the_network_once(model: list[str]) -> None:
    files = list(Vqc("photo").files(picture(40, 40)))
    assert [keep for keep, _ in files] == [1, 2, 3]
    assert model == ["photo"]


def test_a_model_in_a_folder_that_no_file_would_be_decoded_with(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    write_tiny_model(folder, "unknown", seed=5)
    pixels = picture(40, 56)
    codec = Vqc(str(folder))
    tokens = vqcodec.tokenize(pixels, str(folder))
    for keep, data in codec.files(pixels):
        with pytest.raises(ModelError, match="not at hand"):
            vqcodec.decode(data)
        shown = vqcodec.detokenize(tokens, keep=keep).convert("RGB")
        np.testing.assert_array_equal(codec.decode(data), np.asarray(shown))


def test_json_report(model: list[str], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    printed = run(folder, "-o", out, "--codecs", "vqcodec,jpeg", "--limit", "2")
    report = json.loads(out.read_text())
    names = [str(folder / name) for name in ("a.PNG", "b.png", "deep/c.jpg")]
    ours = [row for row in report["rows"] if row["codec"] == "vqcodec"]
    assert [(row["picture"], row["setting"]) for row in ours] == [(name, keep) for name in names for keep in (1, 2, 3)]
    assert list(ours[0]) == "picture width height subset codec model setting rival_of bytes bpp psnr ms_ssim".split()
    assert [(line["subset"], line["keep"], line["pictures"]) for line in report["summary"]] == [
        *[("small", keep, 2) for keep in (1, 2, 3)],
        *[("hd", keep, 1) for keep in (1, 2, 3)],
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
    run(folder, "-o", again, "--codecs", "vqcodec,jpeg")
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
        for keep in "123"
    ]
    assert "ms_ssim" not in rows[0]
    assert rows[0]["rival_of"] == ""
    assert float(rows[0]["bpp"]) == pytest.approx(8 * int(rows[0]["bytes"]) / (40 * 48))


def test_reports_spell_what_json_cannot(model: list[str], tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    Image.new("RGB", (16, 16), (128, 128, 128)).save(flat)  # a JPEG of it is exact; too small for MS-SSIM
    printed = run(flat, "-o", tmp_path / "r.json", "--codecs", "vqcodec,webp")
    line = json.loads((tmp_path / "r.json").read_text())["summary"][0]
    assert (line["psnr"], line["ms_ssim"]) == ("inf", None)
    assert "inf" in printed
    run(flat, "-o", tmp_path / "r.csv", "--codecs", "vqcodec")
    assert next(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))["psnr"] == "inf"


def test_no_file_is_printed_as_n_a(model: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.cli.rivals.Ladder.largest_within", lambda *_: None)
    printed = run(folder / "b.png", "--codecs", "vqcodec,webp")
    assert "n/a" in printed
    assert "0 of 1" in printed


def test_damaged_pictures_are_skipped_and_named(model: list[str], folder: Path, tmp_path: Path) -> None:
    damaged = folder / "broken.png"
    damaged.write_bytes((folder / "b.png").read_bytes()[:300])
    run(folder, "-o", tmp_path / "r.json", "--codecs", "vqcodec", "--limit", 9)
    report = json.loads((tmp_path / "r.json").read_text())
    assert len(report["rows"]) == 9
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
        (["--codecs", "jpeg"], UsageError, "vqcodec must be in it"),
        (["--codecs", "vqcodec,jxl"], UsageError, "eval extra"),
        (["--codecs", "vqcodec,bmp"], UsageError, "no codec 'bmp'"),
        (["--metrics", "ssim"], UsageError, "no metric 'ssim'"),
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
    with pytest.raises(kind, match=message):
        run(folder, *words)
    assert model == []
    assert Path("taken.json").read_text() == "mine"


def test_force_overwrites(model: list[str], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    out.write_text("old")
    run(folder / "b.png", "-o", out, "-f", "--codecs", "vqcodec")
    assert out.read_text().startswith("picture,width")
