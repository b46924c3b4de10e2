"""Validation by SSIM, LPIPS, usage and perplexity, and the best checkpoint by one of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqcodec.errors import InputError
from vqcodec.train import train_tokenizer as trainer
from vqcodec.train.best_checkpoint import BEST
from vqcodec.train.checkpoint import read_checkpoint
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.run import CHECKPOINT
from vqcodec.train.train_tokenizer import train_tokenizer
from vqcodec.train.validate import Validation
from vqcodec.train.validate_metrics import score, ssim

from ..commands import Invoke


@pytest.fixture
def changes(tmp_path: Path) -> list[str]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((72, 64), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    where = json.dumps([str(folder)])
    return [
        f"data.train={where}",
        f"data.val={where}",
        "data.batch=2",
        "tokenizer.backbone.widths=[8,8]",
        "tokenizer.quantizer.groups=2",
        "tokenizer.quantizer.codebook_size=8",
        "tokenizer.quantizer.dims=[]",
        "codebook.kmeans_at=2",
        "optimizer.steps=8",
        "optimizer.decay=0",
        "run.log_every=2",
        "run.val_every=2",
        "run.save_every=2",
        "run.val_images=2",
        "run.val_crop=64",
        "run.precision=fp32",
        "run.tensorboard=false",
    ]


def validations(folder: Path) -> dict[int, dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row for row in rows if "val/psnr" in row}


def test_ssim_is_that_of_8_bit_levels() -> None:
    measure = pytest.importorskip("skimage.metrics", reason="scikit-image has another SSIM to compare with")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-40, 41, a.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (a, b))
    inner = measure.structural_similarity(
        a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1][5:-5, 5:-5]
    assert ssim(y, x) == pytest.approx(inner.mean(), abs=1e-4)
    assert ssim(x, x) == pytest.approx(1)
    assert ssim(x[..., :6, :6], x[..., :6, :6]) == pytest.approx(1)


@pytest.mark.parametrize("metric", ["psnr", "lpips", "perplexity"])
def test_the_best_checkpoint_is_that_of_the_best_validation(
    metric: str, changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distance(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        assert y.abs().max() <= 1
        return (y - x).abs().mean((1, 2, 3))

    monkeypatch.setattr(trainer, "installed_perceptual", lambda _: distance)
    out = tmp_path / "run"
    # A learning rate that does harm at once, so that the last validation is not the best.
    run = train_tokenizer(load_recipe("tiny", [*changes, f"run.best={metric}", "optimizer.lr=0.2"]), out, report=print)
    rows = validations(out)
    assert set(rows) == {2, 4, 6, 8}
    for row in rows.values():
        assert 0 <= float(str(row["val/ssim"])) <= 1
        assert float(str(row["val/lpips"])) > 0
        for entropy, perplexity in zip(row["val/entropy"], row["val/crop-perplexity"], strict=True):  # type: ignore[call-overload]
            assert perplexity == pytest.approx(2**entropy, abs=0.02)
    scores = {step: score(metric, row) for step, row in rows.items()}
    best = max(scores, key=lambda step: (scores[step], -step))
    state = read_checkpoint(out / BEST)
    assert state["step"] == best
    assert run.best == {metric: scores[best]}
    assert read_checkpoint(out / CHECKPOINT)["step"] == 8
    assert (out / BEST).stat().st_size > 0


def test_a_resumed_run_goes_on_comparing(changes: list[str], tmp_path: Path) -> None:
    own = [*changes, "run.best=ssim"]
    whole = train_tokenizer(load_recipe("tiny", own), tmp_path / "whole", report=lambda _: None)
    train_tokenizer(load_recipe("tiny", [*own, "run.stop_at=4"]), tmp_path / "parts", report=lambda _: None)
    parts = train_tokenizer(load_recipe("tiny", own), tmp_path / "parts", resume=True, report=lambda _: None)
    assert parts.best == whole.best
    assert read_checkpoint(tmp_path / "parts" / BEST)["step"] == read_checkpoint(tmp_path / "whole" / BEST)["step"]


def test_the_best_is_exported(changes: list[str], tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "run"
    train_tokenizer(load_recipe("tiny", [*changes, "optimizer.steps=4"]), out, report=lambda _: None)
    code, _, error = invoke("train", "export", out, "-o", tmp_path / "m", "--best")
    assert code == 3
    assert BEST in error
    (out / CHECKPOINT).rename(out / BEST)
    assert invoke("train", "export", out, "-o", tmp_path / "m", "--best")[0] == 0
    assert json.loads((tmp_path / "m" / "config.json").read_text())["extra"]["steps"] == 4


def test_lpips_that_cannot_be_had_is_refused_before_training(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "installed_perceptual", lambda _: None)
    with pytest.raises(InputError, match=r"run\.best: lpips .*run\.best=ssim"):
        train_tokenizer(load_recipe("tiny", [*changes, "run.best=lpips"]), tmp_path / "run", report=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_missing_values_are_never_the_best() -> None:
    assert score("lpips", {"val/psnr": [20.0]}) == -math.inf
    assert score("ssim", {"val/ssim": math.nan}) == -math.inf
    assert score("lpips", {"val/lpips": 0.2}) == -0.2
    assert score("usage", {"val/used": [0.5, 1.0]}) == 0.75


def test_validation_pictures_are_resized_where_crops_are(changes: list[str], tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (9, 9, 9)).save(tmp_path / "pictures" / "tiny.png")
    plain = Validation.load(load_recipe("tiny", [*changes, "run.val_images=9", "run.val_crop=48"]))
    resized = Validation.load(
        load_recipe("tiny", [*changes, "run.val_images=9", "run.val_crop=48", "data.short_side=[1.0,1.25]"])
    )
    assert [tuple(crop.shape) for crop in plain.crops] == [(3, 48, 48)] * 3 + [(3, 16, 32)]
    assert [tuple(crop.shape) for crop in resized.crops] == [(3, 48, 48)] * 4
