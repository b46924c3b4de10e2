"""The evaluation as a Python call: the example of the documentation, results, errors, and progress."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from PIL import Image

import vqcodec.evaluation
from vqcodec.errors import InputError, ModelError, UsageError
from vqcodec.evaluation import compare, read_pictures
from vqcodec.evaluation.pictures import PictureReader, find

from ..stand_ins import stand_in
from ..test_metrics import picture

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(("a", "b")):
        Image.fromarray(picture(64, 80, i)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.slow
def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bjontegaard")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").mkdir()
    with Image.open(ROOT / "samples" / "lake.png") as lake:
        lake.convert("RGB").resize((96, 64)).save(tmp_path / "samples" / "lake.png")
    text = vqcodec.evaluation.__doc__ or ""
    example = textwrap.dedent("\n".join(re.findall(r"^(?: {4}.*)?$", text, re.M)))
    assert "compare(" in example
    exec(compile(example, "vqcodec.evaluation", "exec"), {})
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert {rate["codec"] for rate in report["bd_rate"]["rates"]} == {"vqcodec", "webp"}
    assert {row["codec"] for row in report["rows"]} == {"vqcodec", "jpeg", "webp"}
    assert (tmp_path / "curves.svg").stat().st_size > 1000


METRICS_OF_COMMAND = ["psnr", "ms-ssim", "patch"]


def test_the_call_and_the_command_give_the_same_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..stand_ins import run

    stand_in(monkeypatch)
    pictures = read_pictures([folder])
    found = compare(pictures, ["photo"], ["jpeg"], anchor=None, by="keep", times=False, metrics=METRICS_OF_COMMAND)
    assert found.bd_rates == []
    run(folder, "-m", "photo", "--codecs", "vqcodec,jpeg", "--bd-anchor", "none", "--no-times", "-o", folder / "r.json")
    assert (folder / "r.json").read_bytes() == found.to_json(pictures.skipped)


def test_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    pictures = read_pictures([folder])
    with pytest.raises(UsageError, match="no codec 'gif'; the reference codecs are jpeg"):
        compare(pictures, ["photo"], ["gif"])
    with pytest.raises(UsageError, match="webp: not one of the reference codecs jpeg"):
        compare(pictures, ["photo"], ["jpeg"], anchor="webp")
    with pytest.raises(UsageError, match="no metric 'vmaf'"):
        compare(pictures, ["photo"], ["jpeg"], metrics=["vmaf"], anchor=None)
    with pytest.raises(UsageError, match="use quality or keep"):
        compare(pictures, ["photo"], ["jpeg"], by="size", anchor=None)
    with pytest.raises(ModelError, match="no such model"):
        compare(pictures, ["photos"], ["jpeg"], anchor=None)
    with pytest.raises(InputError, match="no pictures"):
        compare([], ["photo"], [], anchor=None, by="keep")


def test_progress_and_skipped_pictures_are_reported(folder: Path) -> None:
    (folder / "c.png").write_bytes(b"no picture")
    steps: list[tuple[int, int]] = []
    reasons: list[str] = []
    reader = PictureReader(
        find([folder]), on_progress=lambda done, total: steps.append((done, total)), on_skip=reasons.append
    )
    assert [Path(name).name for name, _ in reader] == ["a.png", "b.png"]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert reasons == reader.skipped
    assert len(reasons) == len([None for _ in reader]) - 1 == 1
