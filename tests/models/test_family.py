"""Choice of a model from the family where none is named; the family here is `small`, `large`."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from PIL import Image

import vqcodec
import vqcodec.pillow_plugin
from vqcodec.config.model import LadderStep
from vqcodec.encoder.model_search import is_far
from vqcodec.errors import ModelError, TargetError, UsageError
from vqcodec.inference import networks
from vqcodec.models import loading, registry
from vqcodec.models.ladder import FILLED, at_quality, fills, parts, possible

Invoke = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("family")


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


def test_one_scale_of_quality() -> None:
    found = registry.candidates()
    places = [(name, step.keep) for name, step in (at_quality(found, quality) for quality in range(1, 101))]
    assert [name for name, _ in places] == ["small"] * 50 + ["large"] * 50
    for part in (places[:50], places[50:]):
        assert [keep for _, keep in part] == sorted(keep for _, keep in part)
    assert (places[49], places[50], places[99]) == (("small", 4), ("large", 2), ("large", 4))
    assert parts(found) == {"small": (1, 50), "large": (51, 100)}
    for quality in (0, 101):
        with pytest.raises(UsageError, match=r"1\.\.100"):
            at_quality(found, quality)


def test_a_model_that_is_alone_covers_the_whole_scale() -> None:
    small, large = (registry.candidates(name) for name in ("small", "large"))
    assert [at_quality(small, quality)[1].keep for quality in (1, 50, 51, 100)] == [1, 4, 4, 4]
    assert [at_quality(large, quality)[1].keep for quality in (1, 50, 51, 100)] == [2, 2, 2, 4]
    assert parts(large) == {"large": (1, 100)}


def test_a_model_whose_part_another_covers_is_not_taken_by_quality() -> None:
    found = registry.candidates()
    found["large"] = structs.replace(found["large"], ladder=(LadderStep(1, 1),))
    assert parts(found) == {"large": (1, 100)}
    found["large"] = structs.replace(found["large"], ladder=())
    assert parts(found) == {"small": (1, 100)}


@pytest.mark.parametrize(("quality", "model", "keep"), [(1, "small", 1), (50, "small", 4), (51, "large", 2)])
def test_encode_by_quality(photo: Image.Image, runs: list[str], quality: int, model: str, keep: int) -> None:
    data = vqcodec.encode(photo, quality=quality)
    assert runs == [model]
    assert data == vqcodec.encode(photo, model, keep=keep)
    assert made_by(vqcodec.encode(photo, "small", quality=quality)) == ("small", min(keep, 4) if quality < 51 else 4)


# --- budgets ---


def test_the_first_model_that_fills_the_budget(photo: Image.Image, runs: list[str]) -> None:
    complete = len(vqcodec.encode(photo, "small"))
    runs.clear()
    for budget in (80, complete - 1, complete, int(complete / FILLED)):
        data = vqcodec.encode(photo, max_bytes=budget)
        assert data == vqcodec.encode(photo, "small", max_bytes=budget)
        assert len(data) <= budget
    assert "large" not in runs
    runs.clear()
    for budget in (int(complete / FILLED) + 1, 600, 10**6):
        data = vqcodec.encode(photo, max_bytes=budget)
        assert runs == ["small", "large"]
        assert data == vqcodec.encode(photo, "large", max_bytes=budget)
        assert len(data) <= budget
        runs.clear()


def test_bits_per_pixel_are_a_budget(photo: Image.Image) -> None:
    complete = len(vqcodec.encode(photo, "small"))
    for bpp in (0.03, 0.05, 0.1, 0.13, 1.0):
        data = vqcodec.encode(photo, bpp=bpp)
        assert 8 * len(data) <= bpp * photo.width * photo.height
        budget = int(bpp * photo.width * photo.height / 8)
        assert made_by(data)[0] == ("small" if complete >= FILLED * budget else "large")


def test_what_the_next_model_cannot_make_so_small(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILY", ("coarse", "large"))
    complete = vqcodec.encode(photo, "coarse")
    least = len(vqcodec.encode(photo, "large", keep=1))
    assert not fills(complete, least - 1)
    assert vqcodec.encode(photo, max_bytes=least - 1) == complete
    assert made_by(vqcodec.encode(photo, max_bytes=least)) == ("large", 1)


def test_a_budget_below_everything_names_the_least(photo: Image.Image, runs: list[str]) -> None:
    least = len(vqcodec.encode(photo, "small", keep=1))
    with pytest.raises(TargetError, match=f"at least {least} bytes"):
        vqcodec.encode(photo, max_bytes=least - 1)
    assert "large" not in runs


def test_alpha_and_metadata_do_not_fill_a_budget(photo: Image.Image) -> None:
    laden = photo.copy()
    laden.putalpha(photo.convert("L"))
    laden.info["xmp"] = b"<x>" + 4000 * b"y" + b"</x>"
    data = vqcodec.encode(laden, "small")
    coded = len(vqcodec.encode(photo, "small"))
    assert fills(data, len(data))
    assert len(data) > FILLED * (len(data) + coded)
    assert not fills(data, len(data) + 2 * coded)
    assert made_by(vqcodec.encode(laden, max_bytes=len(data) + 2 * coded))[0] == "large"


# --- a quality to reach, layers, nothing ---


def test_min_quality_takes_the_first_model_that_reaches_it(photo: Image.Image, runs: list[str]) -> None:
    assert made_by(vqcodec.encode(photo, min_quality=("psnr", 5.0))) == ("small", 1)
    assert runs == ["small"]
    # Random weights: the first layer of `small` alone has a higher PSNR than all of its layers. The ladder of `large`
    # begins with two layers, but one layer reaches this quality.
    assert made_by(vqcodec.encode(photo, min_quality=("psnr", 15.1))) == ("large", 1)
    with pytest.raises(TargetError, match=r"model 'large' reaches about 1\d\.\d+; ask for less"):
        vqcodec.encode(photo, min_quality=("psnr", 99.0))


def test_a_quality_far_out_of_reach_is_refused_after_one_draft(
    photo: Image.Image, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, float]] = []
    monkeypatch.setattr("vqcodec.encoder.model_search._quality", lambda *_: tried.append(_[0]) or 20.0)
    with pytest.raises(TargetError, match="model 'large' reaches about 20; ask for less"):
        vqcodec.encode(photo, min_quality=("psnr", 23.5))
    assert (runs, len(tried)) == (["small", "large"], 2)


@pytest.mark.parametrize(
    ("metric", "reached", "target", "far"),
    [("psnr", 30, 32.9, False), ("psnr", 30, 33.1, True), ("ms-ssim", 0.9, 0.94, False), ("ms-ssim", 0.9, 0.96, True),
     ("ms-ssim", 0.9, 0.8, False), ("ms-ssim", 0.99, 1.0, True)],
)  # fmt: skip
def test_qualities_far_beyond_a_draft(metric: str, reached: float, target: float, far: bool) -> None:
    assert is_far(metric, reached, target) == far


def test_layers_are_those_of_the_first_model(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vqcodec.encode(photo) == vqcodec.encode(photo, "small")
    assert vqcodec.encode(photo, quality=50) == vqcodec.encode(photo)
    assert made_by(vqcodec.encode(photo, keep=3)) == ("small", 3)
    monkeypatch.setattr(registry, "FAMILY", ("coarse", "large"))
    with pytest.raises(UsageError, match=r"keep 3: model 'coarse' has layers 1\.\.1; model 'large' has 1\.\.4"):
        vqcodec.encode(photo, keep=3)
    with pytest.raises(UsageError, match=r"keep 5: model 'coarse' has layers 1\.\.1$"):
        vqcodec.encode(photo, keep=5)


def test_tokens_and_modules_are_of_the_first_model(photo: Image.Image) -> None:
    assert vqcodec.tokenize(photo).model == "small"
    assert vqcodec.load_model().config.name == "small"


# --- installed models ---


@pytest.fixture
def only_large(family_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(family_folder / "large", tmp_path / "models" / "large")
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_one_model_is_enough(photo: Image.Image, only_large: Path) -> None:
    assert [made_by(vqcodec.encode(photo, quality=q)) for q in (1, 60, 100)] == [("large", k) for k in (2, 2, 4)]
    assert made_by(vqcodec.encode(photo)) == ("large", 4)
    assert made_by(vqcodec.encode(photo, keep=2)) == ("large", 2)
    assert made_by(vqcodec.encode(photo, max_bytes=10**5)) == ("large", 4)
    assert made_by(vqcodec.encode(photo, min_quality=("psnr", 5.0))) == ("large", 1)
    assert vqcodec.tokenize(photo).model == "large"


def test_none_installed_and_a_broken_one(photo: Image.Image, only_large: Path, family_folder: Path) -> None:
    (only_large / "small").mkdir()
    (only_large / "small" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="model 'small': broken"):
        vqcodec.encode(photo)
    assert made_by(vqcodec.encode(photo, "large"))[0] == "large"
    shutil.rmtree(only_large)
    with pytest.raises(ModelError, match="none of small, large is installed"):
        vqcodec.encode(photo)


def test_which_models_an_option_may_need() -> None:
    found = registry.candidates()
    assert possible(found) == possible(found, keep=2) == possible(found, quality=50) == ["small"]
    assert possible(found, quality=51) == ["large"]
    for rate in ({"max_bytes": 1}, {"bpp": 0.1}, {"min_quality": ("psnr", 1.0)}):
        assert possible(found, **rate) == ["small", "large"]
    assert possible(registry.candidates("small"), bpp=0.1) == ["small"]


# --- commands ---


def test_the_command_says_which(photo: Image.Image, invoke: Invoke, tmp_path: Path) -> None:
    source = tmp_path / "cat.png"
    photo.save(source)
    for rate, model, layers in (((), "small", 4), (("-q", 51), "large", 2), (("--target-size", 10**6), "large", 4)):
        code, _, err = invoke("encode", source, "-f", "-v", *rate)
        assert code == 0
        assert f", {layers} layers of {model}, " in err
        assert json.loads(invoke("encode", source, "-f", "--json", *rate)[1])["model"] == model
    assert ", 4 layers of small, " in invoke("encode", source, "-f", "-v", "-m", "small", "-q", 90)[2]
    out = invoke("info", tmp_path / "cat.vqc")[1]
    assert "4 of the model's 4, one token per 16 x 16 pixels" in out
    code, _, err = invoke("encode", source, "-f", "--keep", 9)
    assert (code, err) == (2, "vqcodec: keep 9: model 'small' has layers 1..4\n")


def test_models_say_when_they_are_taken(invoke: Invoke) -> None:
    lines = {line.split()[0]: line.split() for line in invoke("models", "list")[1].splitlines()[1:]}
    assert [lines[name][4] for name in ("coarse", "small", "large")] == ["-m", "1..50", "51..100"]
    records = {r["name"]: r for r in map(json.loads, invoke("models", "list", "--json")[1].splitlines())}
    assert [records[name]["quality"] for name in ("coarse", "small", "large")] == [None, [1, 50], [51, 100]]
    assert "used for -q 51..100" in invoke("models", "show", "large")[1]
    assert "not used" in invoke("models", "show", "coarse")[1]


def test_saving_with_pillow(photo: Image.Image) -> None:
    for options, model in (({}, "small"), ({"quality": 80}, "large"), ({"max_bytes": 10**6}, "large")):
        out = io.BytesIO()
        photo.save(out, "VQC", **options)
        assert made_by(out.getvalue())[0] == model


# --- batch ---


@pytest.fixture
def batch(photo: Image.Image, invoke: Invoke, tmp_path: Path) -> Callable[..., dict]:
    """`batch(options...)`: two pictures of different size; the summary, with the model of each target."""
    src, dst = tmp_path / "photos", tmp_path / "tokens"
    src.mkdir()
    photo.save(src / "big.png")
    photo.resize((80, 60)).save(src / "little.png")

    def call(*options: object) -> dict:
        code, out, err = invoke("batch", src, dst, "--json", *options)
        assert code == 0, err
        made = {path.stem: made_by(path.read_bytes())[0] for path in dst.glob("*.vqc")}
        for line in (dst / ".vqcodec-manifest.jsonl").read_text().splitlines()[-json.loads(out)["done"] :]:
            assert json.loads(line)["model"] == made[Path(json.loads(line)["source"]).stem]
        return json.loads(out) | made

    return call


def test_each_picture_of_a_batch_gets_its_model(batch: Callable[..., dict]) -> None:
    done = batch("--target-size", 250)
    assert (done["done"], done["big"], done["little"]) == (2, "small", "large")
    assert batch("--target-size", 250)["skipped"] == 2
    assert batch("--target-size", 250, "--resume")["skipped"] == 2
    assert batch("--target-size", 250, "-m", "small")["done"] == 2


@pytest.mark.slow
def test_a_batch_is_done_again_only_where_the_models_matter(
    batch: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "FAMILY", ("small",))
    batch("-q", 34)
    monkeypatch.setattr(registry, "FAMILY", ("small", "large"))
    for options in (("-q", 34), ("-q", 40), ("-m", "small", "-q", 34), ("--keep", 3)):
        assert batch(*options)["skipped"] == 2, options
    assert batch("-q", 60)["done"] == 2
    monkeypatch.setattr(registry, "FAMILY", ("small",))
    assert batch("--bpp", 1)["done"] == 2
    monkeypatch.setattr(registry, "FAMILY", ("small", "large"))
    assert batch("--bpp", 1)["done"] == 2
