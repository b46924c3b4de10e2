"""Files of one model by size option, and the model where none is named; the default of the library here is `small`."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqcodec
import vqcodec.pillow_plugin
from vqcodec.encoder.bounded_files import is_far
from vqcodec.errors import ModelError, TargetError, UsageError
from vqcodec.inference import networks
from vqcodec.models import loading

Invoke = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("two_models")


def made_by(data: bytes) -> tuple[str | None, int]:
    info = vqcodec.inspect(data)
    return info.model, len(info.layers)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose encoders have run, in order."""
    names: list[str] = []
    original = networks._latents

    def counted(model: loading.Model, *rest: Any) -> Any:
        names.append(model.config.name)
        return original(model, *rest)

    monkeypatch.setattr(networks, "_latents", counted)
    return names


# --- quality ---


@pytest.mark.parametrize(
    ("quality", "model", "keep"),
    [(1, "small", 1), (50, "small", 4), (51, "small", 4), (1, "large", 2), (60, "large", 2), (100, "large", 4)],
)
def test_encode_by_quality(photo: Image.Image, runs: list[str], quality: int, model: str, keep: int) -> None:
    data = vqcodec.encode(photo, model, quality=quality)
    assert runs == [model]
    assert data == vqcodec.encode(photo, model, keep=keep)
    assert made_by(data) == (model, keep)


# --- budgets ---


def test_a_budget_takes_the_default_model_alone(photo: Image.Image, runs: list[str]) -> None:
    complete = vqcodec.encode(photo, "small")
    runs.clear()
    for budget in (80, len(complete) - 1, len(complete), 600, 10**6):
        data = vqcodec.encode(photo, max_bytes=budget)
        assert runs == ["small"]
        assert data == vqcodec.encode(photo, "small", max_bytes=budget)
        assert len(data) <= budget
        assert budget < len(complete) or data == complete
        runs.clear()


def test_bits_per_pixel_are_a_budget(photo: Image.Image) -> None:
    for bpp in (0.03, 0.05, 0.1, 0.13, 1.0):
        data = vqcodec.encode(photo, bpp=bpp)
        assert 8 * len(data) <= bpp * photo.width * photo.height
        assert data == vqcodec.encode(photo, max_bytes=int(bpp * photo.width * photo.height / 8))


def test_a_budget_below_everything_names_the_least(photo: Image.Image, runs: list[str]) -> None:
    least = len(vqcodec.encode(photo, "small", keep=1))
    with pytest.raises(TargetError, match=f"at least {least} bytes"):
        vqcodec.encode(photo, max_bytes=least - 1)
    assert "large" not in runs


# --- a quality to reach, layers, nothing ---


def test_min_quality_takes_the_default_model_alone(photo: Image.Image, runs: list[str]) -> None:
    assert made_by(vqcodec.encode(photo, min_quality=("psnr", 5.0))) == ("small", 1)
    assert runs == ["small"]
    # The ladder of `large` begins with two layers, but one layer reaches this quality.
    assert made_by(vqcodec.encode(photo, "large", min_quality=("psnr", 15.1))) == ("large", 1)
    with pytest.raises(TargetError, match=r"model 'small' reaches about 1\d\.\d+; ask for less"):
        vqcodec.encode(photo, min_quality=("psnr", 99.0))
    with pytest.raises(TargetError, match=r"model 'large' reaches about 1\d\.\d+; ask for less"):
        vqcodec.encode(photo, "large", min_quality=("psnr", 99.0))


def test_a_quality_far_out_of_reach_is_refused_after_one_draft(
    photo: Image.Image, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, float]] = []
    monkeypatch.setattr("vqcodec.encoder.bounded_files._quality", lambda *_: tried.append(_[0]) or 20.0)
    with pytest.raises(TargetError, match="model 'small' reaches about 20; ask for less"):
        vqcodec.encode(photo, min_quality=("psnr", 23.5))
    assert (runs, len(tried)) == (["small"], 1)


@pytest.mark.parametrize(
    ("metric", "reached", "target", "far"),
    [("psnr", 30, 32.9, False), ("psnr", 30, 33.1, True), ("ms-ssim", 0.9, 0.94, False), ("ms-ssim", 0.9, 0.96, True),
     ("ms-ssim", 0.9, 0.8, False), ("ms-ssim", 0.99, 1.0, True)],
)  # fmt: skip
def test_qualities_far_beyond_a_draft(metric: str, reached: float, target: float, far: bool) -> None:
    assert is_far(metric, reached, target) == far


def test_layers_are_those_of_the_default_model(photo: Image.Image) -> None:
    assert vqcodec.encode(photo) == vqcodec.encode(photo, "small")
    assert vqcodec.encode(photo, quality=50) == vqcodec.encode(photo)
    assert made_by(vqcodec.encode(photo, keep=3)) == ("small", 3)
    for keep in (0, 5):
        with pytest.raises(UsageError, match=rf"keep {keep}: model 'small' has layers 1\.\.4$"):
            vqcodec.encode(photo, keep=keep)


def test_tokens_and_modules_are_of_the_default_model(photo: Image.Image) -> None:
    assert vqcodec.tokenize(photo).model == "small"
    assert vqcodec.load_model().config.name == "small"


# --- installed models ---


def test_none_installed_and_a_broken_one(
    photo: Image.Image, two_models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(two_models_folder / "large", tmp_path / "models" / "large")
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "models"))
    with pytest.raises(ModelError, match=r"model 'small': not found; installed: .*large"):
        vqcodec.encode(photo)
    (tmp_path / "models" / "small").mkdir()
    (tmp_path / "models" / "small" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="model 'small': broken"):
        vqcodec.encode(photo)
    assert made_by(vqcodec.encode(photo, "large"))[0] == "large"


# --- commands ---


def test_the_command_says_which(photo: Image.Image, invoke: Invoke, tmp_path: Path) -> None:
    source = tmp_path / "cat.png"
    photo.save(source)
    for rate, model, layers in (
        ((), "small", 4), (("-q", 51), "large", 2), (("--target-size", 10**6), "large", 4), (("-q", 90), "small", 4)
    ):  # fmt: skip
        code, _, err = invoke("encode", source, "-f", "-v", "-m", model, *rate)
        assert code == 0
        assert f", {layers} layers of {model}, " in err
        assert json.loads(invoke("encode", source, "-f", "--json", "-m", model, *rate)[1])["model"] == model
    out = invoke("info", tmp_path / "cat.vqc")[1]
    assert "4 of the model's 4, one token per 16 x 16 pixels" in out
    code, _, err = invoke("encode", source, "-f", "-m", "small", "--keep", 9)
    assert (code, err) == (2, "vqcodec: keep 9: model 'small' has layers 1..4\n")


def test_models_say_when_they_are_taken(invoke: Invoke) -> None:
    lines = {line.split()[0]: line.split() for line in invoke("models", "list")[1].splitlines()[1:]}
    assert [lines[name][4] for name in ("small", "large")] == ["1..100", "-m"]
    records = {r["name"]: r for r in map(json.loads, invoke("models", "list", "--json")[1].splitlines())}
    assert [records[name]["quality"] for name in ("small", "large")] == [[1, 100], None]
    assert "used for -q 1..100" in invoke("models", "show", "small")[1]
    assert "not used" in invoke("models", "show", "large")[1]


def test_saving_with_pillow(photo: Image.Image) -> None:
    for options, model in (({}, "small"), ({"model": "large"}, "large"), ({"max_bytes": 10**6}, "small")):
        out = io.BytesIO()
        photo.save(out, "VQC", **options)
        assert made_by(out.getvalue())[0] == model


# --- batch ---


@pytest.mark.slow
def test_a_batch_is_done_again_only_where_the_model_matters(photo: Image.Image, invoke: Invoke, tmp_path: Path) -> None:
    src, dst = tmp_path / "photos", tmp_path / "tokens"
    src.mkdir()
    photo.save(src / "big.png")
    photo.resize((80, 60)).save(src / "little.png")

    def batch(*options: object) -> dict:
        code, out, err = invoke("batch", src, dst, "--json", *options)
        assert code == 0, err
        made = {path.stem: made_by(path.read_bytes())[0] for path in dst.glob("*.vqc")}
        lines = (dst / ".vqcodec-manifest.jsonl").read_text().splitlines()
        for line in lines[len(lines) - json.loads(out)["done"] :]:
            assert json.loads(line)["model"] == made[Path(json.loads(line)["source"]).stem]
        return json.loads(out) | made

    done = batch("--target-size", 250, "-m", "small")
    assert (done["done"], done["big"], done["little"]) == (2, "small", "small")
    assert batch("--target-size", 250, "-m", "small")["skipped"] == 2
    assert batch("--target-size", 250, "-m", "small", "--resume")["skipped"] == 2
    assert batch("--target-size", 250, "-m", "large")["done"] == 2
    batch("-q", 34, "-m", "small")
    for options in (("-q", 34), ("-q", 40), ("--keep", 3)):
        assert batch("-m", "small", *options)["skipped"] == 2, options
    assert batch("-q", 60, "-m", "small")["done"] == 2
