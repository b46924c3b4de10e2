"""`vqcodec eval`: --pair, --json, codecs without models, user codecs, sizes, and a line for each picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from vqcodec.cli.evaluate.command import evaluate
from vqcodec.errors import InputError, UsageError
from vqcodec.metrics import ms_ssim, psnr

from ..commands import Invoke
from ..object_store import memory_store
from ..stand_ins import run, stand_in
from ..test_metrics import noisy, picture


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    a = picture(64, 80)
    Image.fromarray(a).save(tmp_path / "a.png")
    Image.fromarray(noisy(a, 9)).save(tmp_path / "b.png")
    return tmp_path / "a.png", tmp_path / "b.png"


def test_a_pair(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a = picture(64, 80)
    b = noisy(a, 9)
    printed = run("--pair", *pair)
    assert f"{psnr(a, b):.4f}" in printed
    found = json.loads(run("--pair", *pair, "--metrics", "psnr,ms-ssim,ssim", "--json"))
    assert found["psnr"] == pytest.approx(psnr(a, b))
    assert found["ms_ssim"] == pytest.approx(ms_ssim(a, b))
    assert json.loads(run("--pair", pair[0], pair[0], "--json"))["psnr"] == "inf"
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match="80x64 and 8x8 px"):
        run("--pair", pair[0], tmp_path / "c.png")


def test_json_holds_the_report_and_the_verdict(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    found = json.loads(run(pair[0], "--codecs", "vqcodec,jpeg", "--json", "--quiet"))
    assert found["failed"] == []
    assert {row["codec"] for row in found["rows"]} == {"vqcodec", "jpeg"}
    assert found["summary"][0]["model"] == "photo"
    assert isinstance(found["verdict"], list)


def test_codecs_without_models(pair: tuple[Path, Path], tmp_path: Path) -> None:
    command = "copy=cp {in} {out.png} => cp {in} {out}"
    words = [*pair, "--codecs", "jpeg,webp", "--command", command, "--no-times", "-o", tmp_path / "r.csv"]
    printed = run(*words, "--resize", 48, "--crop", "48x48")
    assert "setting" in printed
    assert printed.count("jpeg") >= 10
    assert printed.rstrip().splitlines()[-1].startswith("verdict: ") or "BD-rate" not in printed
    rows = (tmp_path / "r.csv").read_text().splitlines()[1:]
    assert {tuple(row.split(",")[1:3]) for row in rows} == {("48", "48")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name pictures or folders, or --pair A B"),
        (["p", "--command", "cjxl"], "--command cjxl: write NAME=ENCODE"),
        (["p", "--folder", "theirs"], "--folder theirs: write NAME=FOLDER"),
        (["p", "--command", "jpeg=cp {in} {out} => cp {in} {out}"], "codec jpeg: named twice"),
        (["p", "--crop", "256"], "write WxH"),
        (["p", "--resize", "100", "--crop", "256x256"], "larger than the short side"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*words)


def test_failures_are_printed_and_each_picture_has_a_line(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("vqcodec.cli.messages.say", said.append)
    printed = run(*pair, "--codecs", "jpeg", "--command", "bad=false {in} {out} => cp {in} {out}")
    assert f"failed: {pair[0]}: bad: the command to encode: exit code 1" in printed
    assert [line.split(":")[0] for line in said if line[0].isdigit()] == [f"1/2 {pair[0]}", f"2/2 {pair[1]}"]
    said.clear()
    run(*pair, "--codecs", "jpeg", "--quiet")
    assert said == []


def test_a_metric_of_sets_is_left_out_with_one_line(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("vqcodec.cli.messages.say", said.append)
    printed = run(*pair, "--codecs", "jpeg", "--metrics", "psnr,rfid")
    assert "PSNR" in printed
    assert said[0] == "no rfid: it compares sets of pictures; `vqcodec eval --table NAME` measures it"
    assert sum("rfid" in line for line in said) == 1
    with pytest.raises(UsageError, match="none of them"):
        run(*pair, "--codecs", "jpeg", "--metrics", "rfid")


def test_an_interrupted_command_is_continued(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqcodec.cli.evaluate.run import Teller

    said: list[str] = []
    monkeypatch.setattr("vqcodec.cli.messages.say", said.append)
    words = [*pair, "--codecs", "jpeg", "-o", tmp_path / "r.json"]
    with monkeypatch.context() as patch:
        patch.setattr(Teller, "finished", interrupt)
        assert main(*words) == 130
    assert said[-1] == f"finished pictures are kept in {tmp_path / 'r.json.partial'}: the same command continues"
    assert not (tmp_path / "r.json").exists()
    said.clear()
    assert main(*words) == 0
    assert said[0] == f"1/2 {pair[0]}: from the interrupted run"
    assert (tmp_path / "r.json").exists()
    assert not (tmp_path / "r.json.partial").exists()


def test_a_report_behind_a_url_has_no_journal(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqcodec.cli.evaluate.run import Teller

    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with memory_store() as store:
        words = [*pair, "--codecs", "jpeg", "-o", store.url("r.json")]
        assert main(*words) == 0
        assert store.names() == ["r.json"]
        monkeypatch.setattr(Teller, "finished", interrupt)
        assert main(*words, "-f") == 130
    assert sorted(tmp_path.iterdir()) == before


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(*words: object) -> int:
    """Exit code of `vqcodec eval` with `words`, as typer's runner sees it."""
    app = typer.Typer()
    app.command("eval")(evaluate)
    return CliRunner().invoke(app, [*map(str, words), "-j", "1"]).exit_code


def test_written_files_are_named(invoke: Invoke, tiny_model: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("eval", pair[0], "-m", tiny_model, "--codecs", "vqcodec", "-j", 1)
    code, _, told = invoke(*map(str, words), "-o", str(tmp_path / "r.json"))
    assert code == 0
    assert f"written: {tmp_path / 'r.json'}" in told
    _, _, told = invoke(*map(str, words), "-o", str(tmp_path / "q.json"), "--quiet")
    assert "written" not in told
