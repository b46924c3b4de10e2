"""Weight of the first codeword of a mixture: its measurement at import of a checkpoint and at export of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqcodec.errors import UsageError
from vqcodec.geometry.rectangles import read_padded
from vqcodec.geometry.token_layout import window_rects
from vqcodec.importing import release
from vqcodec.importing.first_weight import measured_config
from vqcodec.importing.release import SYSTEMS, find_release, import_release
from vqcodec.inference.torch_networks import to_tensor
from vqcodec.models import loading, registry

from ..refusal import Invoke
from .test_importing import released, small

NAME = "softvq-l-64"


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    small_one = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small_one).resize((150, 110), Image.Resampling.BICUBIC))


def error_of(model: loading.Model, picture: np.ndarray, weight: float) -> float:
    """Squared error of the first layer relative to the mixture, at first weight `weight`."""
    quantizer: Any = model.tokenizer.quantizer
    rects = window_rects(model.config.tokenizer, picture.shape[1], picture.shape[0])
    with torch.inference_mode():
        z = model.tokenizer.encoder(to_tensor([read_padded(picture, rect) for rect in rects], "cpu"))
        before, quantizer.first_weight = quantizer.first_weight, weight
        planes = [plane if s == 0 else torch.full_like(plane, -1) for s, plane in enumerate(quantizer.quantize(z))]
        error = float((quantizer.dequantize(planes)[0] - quantizer(z, z).z_q).square().sum())
        quantizer.first_weight = before
    return error


def test_an_import_measures_it_on_request(
    picture: np.ndarray, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, config = find_release(NAME)[0], small(NAME)
    state = released(system, config)
    changed = tuple(s._replace(releases={**s.releases, "softvq-x": config}) if s is system else s for s in SYSTEMS)
    monkeypatch.setattr(release, "SYSTEMS", changed)
    torch.save(state, tmp_path / "x.pt")
    Image.fromarray(picture).save(tmp_path / "a.png")
    arguments = ("models", "import", "softvq-x", tmp_path / "x.pt", "--json")
    plain = json.loads(invoke(*arguments, "-o", tmp_path / "plain")[1])
    code, out, err = invoke(*arguments, "-o", tmp_path / "m", "--measure", tmp_path / "a.png")
    assert (code, err) == (0, "")
    found = json.loads(out)
    weight = found["first_weight"]
    assert 0 < weight < 1
    assert found["token_id"] != plain["token_id"]
    assert "first_weight" not in plain
    model = loading.load(registry.find(str(tmp_path / "m")))
    assert model.config.tokenizer.quantizer.first_weight == weight  # type: ignore[union-attr]
    best = error_of(model, picture, weight)
    assert best < min(error_of(model, picture, other) for other in (weight - 0.03, weight + 0.03, 1.0))
    # Without pictures, a configuration file sets the weight and gives the same identity.
    (tmp_path / "own.toml").write_text(f"[tokenizer.quantizer]\nfirst_weight = {weight}\n")
    again = json.loads(invoke(*arguments, "-o", tmp_path / "n", "--config", tmp_path / "own.toml")[1])
    assert again["token_id"] == found["token_id"]


def test_a_checkpoint_without_mixtures_has_none(picture: np.ndarray) -> None:
    system, config = find_release("xqgan-vq-4096")[0], small("xqgan-vq-4096")
    with pytest.raises(UsageError, match="--measure: product-vq has no mixtures"):
        measured_config(system, config, released(system, config), [picture])


def test_nothing_is_left_where_a_picture_cannot_be_read(invoke: Invoke, tmp_path: Path) -> None:
    system, config = find_release(NAME)[0], small(NAME)
    torch.save(released(system, config), tmp_path / "x.pt")
    (tmp_path / "a.png").write_text("no picture")
    code, _, err = invoke(
        "models", "import", NAME, tmp_path / "x.pt", "-o", tmp_path / "m", "--measure", tmp_path / "a.png"
    )
    assert code == 3
    assert "a.png" in err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("set_by_recipe", [False, True])
def test_an_export_measures_it(set_by_recipe: bool, picture: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the trainer's way to several processes")
    from vqcodec.train.export import export_run
    from vqcodec.train.recipe.load import load_recipe
    from vqcodec.train.train_tokenizer import train_tokenizer

    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.fromarray(np.roll(picture, 20 * i, 1)).save(tmp_path / "photos" / f"{i}.png")
    photos = json.dumps([str(tmp_path / "photos")])
    changes = [f"data.train={photos}", f"data.val={photos}", "data.batch=2", "optimizer.steps=2", "optimizer.decay=0"]
    changes += ["run.val_images=1", "run.tensorboard=false", "losses.gan/generator=0"]
    changes += ["tokenizer.quantizer.first_weight=0.9"] if set_by_recipe else []
    train_tokenizer(load_recipe("tiny-softvq", changes), tmp_path / "run", report=lambda _: None)
    said: list[str] = []
    config = export_run(tmp_path / "run", tmp_path / "model", report=said.append)
    weight = config.tokenizer.quantizer.first_weight  # type: ignore[union-attr]
    assert weight == 0.9 if set_by_recipe else 0 < weight < 1
    assert any("weight of the first codeword" in line for line in said) != set_by_recipe
    # A model with the prior of another model of the same tokens takes the first weight of that model.
    again = export_run(tmp_path / "run", tmp_path / "again", report=said.append, prior=str(tmp_path / "model"))
    assert again.token_id == config.token_id
    if not set_by_recipe:
        model = loading.load(registry.find(str(tmp_path / "model")))
        assert error_of(model, picture, weight) < error_of(model, picture, 1.0)


def test_a_release_without_it_has_the_identity_it_had(tmp_path: Path) -> None:
    """Without a measurement the first weight is 1."""
    system, config = find_release(NAME)[0], small(NAME)
    made = import_release(system, config, released(system, config), tmp_path / "m", NAME).config
    assert made.tokenizer.quantizer.first_weight == 1  # type: ignore[union-attr]
