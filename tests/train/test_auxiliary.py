"""Runs with alignment, entropy, disentanglement, perturbation, warm-up and tuning: steps, logs, resuming, exporting."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqcodec.errors import InputError
from vqcodec.tokenizer import Tokenizer
from vqcodec.train.checkpoint import read_checkpoint
from vqcodec.train.finetuning import merged
from vqcodec.train.losses.names import weights_at
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.run import CHECKPOINT, TokenizerRun
from vqcodec.train.schedule import learning_rate_at

from ..teachers import SmallTeacher

pytest.importorskip("accelerate", reason="the trainer's way to several processes")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(3):
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((80, 70), Image.Resampling.BICUBIC).save(path / f"{i}.png")
    return path


@pytest.fixture(autouse=True)
def _small_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    from vqcodec.train.alignment import losses

    monkeypatch.setattr(losses, "load_teacher", lambda *_: SmallTeacher(width=64))


def train(photos: Path, folder: Path, name: str, *changes: str, resume: bool = False) -> TokenizerRun:
    from vqcodec.train.train_tokenizer import train_tokenizer

    quick = [
        f"data.train={json.dumps([str(photos)])}",
        f"data.val={json.dumps([str(photos)])}",
        "data.batch=2",
        "optimizer.steps=4",
        "optimizer.warmup=0",
        "tokenizer.quantizer.codebook_size=16",
        "run.val_images=1",
        "run.log_every=1",
        "run.tensorboard=false",
        "run.precision=fp32",
        "gan.start=1",
    ]
    return train_tokenizer(load_recipe(name, [*quick, *changes]), folder, resume=resume, report=lambda _: None)


def log(folder: Path) -> dict[int, dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row for row in rows if "total" in row}


ALL = (
    "losses.align/semantic=0.1",
    "losses.align/middle=0.5",
    "losses.align/detail=0.1",
    "losses.vq/entropy=0.03",
    "align.middle.objective=prediction",
    "align.middle.width=16",
    "align.middle.layers=1",
    "align.detail.objective=cosine",
    "align.detail.level=places",
    "align.detail.width=16",
    "align.detail.shared=false",
    "perturbation.samples=0.5",
    "perturbation.nearest=4",
    "perturbation.anneal=[1, 3]",
    "gan.augment=0.5",
    "gan.consistency=4.0",
    "warmup.vq/entropy=4",
    "codebook.kmeans_at=0",
    "optimizer.steps=4",
)


def test_a_run_with_everything_resumes_to_the_same(photos: Path, tmp_path: Path) -> None:
    whole = train(photos, tmp_path / "whole", "tiny-xqgan-vp2", *ALL)
    train(photos, tmp_path / "part", "tiny-xqgan-vp2", *ALL, "run.stop_at=2")
    part = train(photos, tmp_path / "part", "tiny-xqgan-vp2", *ALL, resume=True)
    expected, found = log(tmp_path / "whole"), log(tmp_path / "part")
    names = {key for key, weight in whole.recipe.losses.items() if weight} | {"gan/consistency", "total"}
    for step in (1, 2, 3, 4):
        for key in names & set(expected[step]):
            assert found[step][key] == pytest.approx(expected[step][key], rel=1e-3, abs=1e-4), (step, key)
    assert names <= set(expected[4])
    for (name, one), other in zip(
        whole.auxiliary.state_dict()["alignments"].items(),
        part.auxiliary.state_dict()["alignments"].values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)
    with pytest.raises(InputError, match=r"other alignments than recipe\.align"):
        train(photos, tmp_path / "part", "tiny-xqgan-vp2", *ALL, "align.middle.width=24", resume=True)


def test_heads_are_trained_and_are_in_no_model(photos: Path, tmp_path: Path) -> None:
    run = train(photos, tmp_path / "run", "tiny-xqgan-vp2", *ALL, "optimizer.lr=1e-2", "run.stop_at=1")
    heads = {name: value.clone() for name, value in run.auxiliary.state_dict()["alignments"].items()}
    later = train(photos, tmp_path / "run", "tiny-xqgan-vp2", *ALL, "optimizer.lr=1e-2", resume=True)
    after = later.auxiliary.state_dict()["alignments"]
    assert heads
    assert all(not torch.equal(after[name], value) for name, value in heads.items())
    Tokenizer(run.recipe.tokenizer).load_state_dict(read_checkpoint(tmp_path / "run" / CHECKPOINT)["model"])


def test_a_shared_layer_must_fit_the_teacher(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vqcodec.train.alignment import losses

    monkeypatch.setattr(losses, "load_teacher", lambda *_: SmallTeacher(width=8))
    with pytest.raises(InputError, match=r"align\.semantic\.shared: the encoder's last layer has 64 channels"):
        train(photos, tmp_path / "run", "tiny-xqgan-vq", "losses.align/semantic=0.1")


def test_weights_warm_up_linearly() -> None:
    weights, warmup = {"rec/l2": 2.0, "rec/lpips": 1.0}, {"rec/lpips": 10, "vq/entropy": 5}
    assert weights_at(weights, warmup, 0) == {"rec/l2": 2.0, "rec/lpips": 0.0}
    assert weights_at(weights, warmup, 4) == {"rec/l2": 2.0, "rec/lpips": 0.4}
    assert weights_at(weights, warmup, 10) == weights_at(weights, warmup, 99) == weights


def test_warm_up_counts_in_the_total_and_not_in_the_log(photos: Path, tmp_path: Path) -> None:
    train(photos, tmp_path / "run", "tiny-softvq", "warmup.rec/l2=4", "losses.vq/entropy=0", "gan.start=9")
    for step, row in log(tmp_path / "run").items():
        assert row["total"] == pytest.approx(row["rec/l2"] * (step - 1) / 4, abs=2e-5)


def test_cosine_ends_at_its_floor() -> None:
    optimizer = load_recipe("xqgan-vq-4096").optimizer
    assert learning_rate_at(optimizer, optimizer.steps) == pytest.approx(5e-5, rel=0.01)
    assert learning_rate_at(optimizer, 1251) == pytest.approx(2.4e-4, rel=1e-3)
    softvq = load_recipe("softvq-l-64").optimizer
    assert learning_rate_at(softvq, softvq.steps) == pytest.approx(0.1 * softvq.lr)


@pytest.mark.skipif(find_spec("peft") is None, reason="the extra `alignment`")
def test_lora_from_weights_to_an_exported_model(photos: Path, tmp_path: Path) -> None:
    from vqcodec.train.export import export_run

    train(photos, tmp_path / "first", "tiny-xqgan-vq")
    before = read_checkpoint(tmp_path / "first" / CHECKPOINT)["ema"]
    tuning = (
        f"start_from={tmp_path / 'first'}",
        'optimizer.frozen=["encoder"]',
        "tuning.decoder=lora",
        'tuning.trained=["decoder.trunk.norm.*"]',
        "optimizer.lr=1e-2",
        "optimizer.steps=3",
    )
    run = train(photos, tmp_path / "second", "tiny-xqgan-vq", *tuning, "run.stop_at=2")
    run = train(photos, tmp_path / "second", "tiny-xqgan-vq", *tuning, resume=True)
    assert run.step == 3
    state = read_checkpoint(tmp_path / "second" / CHECKPOINT)
    after = merged({**state["model"], **state["ema"]})
    assert set(after) == set(Tokenizer(run.recipe.tokenizer).state_dict())
    moved = {name for name, value in before.items() if not torch.allclose(after[name], value, atol=1e-6)}
    decoder = {name for name in moved if name.startswith("decoder.")}
    assert decoder == {
        *(f"decoder.trunk.layers.{i}.{layer}.weight" for i in (0, 1) for layer in ("expand", "narrow")),
        "decoder.trunk.norm.weight",
        "decoder.trunk.norm.bias",
        "decoder.tail.weight",
    }
    assert not any(name.startswith("encoder.") for name in moved)
    config = export_run(tmp_path / "second", tmp_path / "model", report=lambda _: None)
    assert config.tokenizer == run.recipe.tokenizer
