"""Training of models with a quantization step: a run at toy size, stopped and resumed, and its export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import vqcodec
from vqcodec.config.quantizers import GAINS
from vqcodec.entropy.scalar_context import MODEL, ScalarContext
from vqcodec.entropy.scalar_residuals import TOTAL
from vqcodec.errors import ModelError, OutputError, UsageError
from vqcodec.models.loading import load_model
from vqcodec.train.stepped.recipe import stepped_recipe
from vqcodec.train.stepped.run import SteppedRun, coordinates
from vqcodec.train.stepped.train import train_stepped
from vqcodec.transforms.steps import step_size

from ..stepped import LEVELS, tree

Outcome = tuple[int, str, str]


@pytest.fixture
def pictures(tmp_path: Path, photo: Image.Image) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        photo.rotate(90 * i, expand=True).save(folder / f"{i}.png")
    return folder


def recipe_of(pictures: Path, **changes: Any) -> Any:
    data = {"train": [str(pictures)], "val": [str(pictures)], "crop": 64, "batch": 2}
    return stepped_recipe(tree(data=data, **changes))


def train(recipe: Any, folder: Path, resume: bool = False) -> SteppedRun:
    return train_stepped(recipe, folder, resume, "cpu", lambda _: None, False)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(pictures: Path, tmp_path: Path) -> None:
    whole = train(recipe_of(pictures), tmp_path / "whole")
    settings = {**tree()["run"], "stop_at": 2}
    train(recipe_of(pictures, run=settings), tmp_path / "parts")
    with pytest.raises(OutputError, match="holds a run already"):
        train(recipe_of(pictures), tmp_path / "parts")
    parts = train(recipe_of(pictures), tmp_path / "parts", resume=True)
    assert (whole.step, whole.pixels) == (parts.step, parts.pixels) == (4, 4 * 2 * 64 * 64)
    for name, value in whole.average.values.items():
        assert torch.equal(value, parts.average.values[name]), name
    rows = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 2, 4, 4]
    assert rows[0]["run/megapixels"] == pytest.approx(0.0, abs=0.1)
    assert {"loss", "rate/bpp", "rec/psnr", "run/megapixels_per_s"} <= set(rows[2])
    assert len(rows[3]["val/bpp"]) == len(rows[3]["val/psnr"]) == 6


def test_export_makes_a_model_that_encodes(
    pictures: Path, tmp_path: Path, photo: Image.Image, invoke: Callable[..., Outcome]
) -> None:
    train(recipe_of(pictures), tmp_path / "run")
    code, out, err = invoke("train", "export", tmp_path / "run", "-o", tmp_path / "model", "--json")
    assert code == 0, err
    assert json.loads(out)["layers"] == 5
    config = json.loads((tmp_path / "model/config.json").read_text())
    rates = [step["rate"] for step in config["ladder"]]
    assert rates == sorted(rates, reverse=True)
    data = vqcodec.encode(photo, str(tmp_path / "model"), quality=100, effort=5)
    assert len(data) > 200


def test_training_lowers_the_loss(pictures: Path, tmp_path: Path) -> None:
    optimizer = {"steps": 40, "lr": 3e-4, "context_lr": 3e-3, "warmup": 1}
    settings = {**tree()["run"], "log_every": 10, "val_every": 100, "save_every": 100}
    rate = {"steps": [20, 20]}
    train(recipe_of(pictures, optimizer=optimizer, run=settings, rate=rate), tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0] - 0.05


def test_a_run_starts_from_another(pictures: Path, tmp_path: Path) -> None:
    first = train(recipe_of(pictures), tmp_path / "first")
    again = train(recipe_of(pictures, start_from=str(tmp_path / "first"), optimizer={"steps": 1}), tmp_path / "second")
    assert again.pixels == first.pixels + 2 * 64 * 64


def test_a_run_starts_from_a_model(stepped_folder: Path, pictures: Path) -> None:
    """The weights of a model, rounded when it was exported, predict the same bits, and its decoder the same pixels."""
    tensors = load_file(stepped_folder / "model.safetensors")
    run = SteppedRun(recipe_of(pictures))
    run.start_from(str(stepped_folder))
    again = run.averaged().context.tensors()
    for name, value in again.items():
        if "step" not in name and "tables" not in name and "table_lengths" not in name:
            assert np.abs(value.astype(int) - tensors[name].astype(int)).max() <= 1, name
    first, second = (
        ScalarContext(LEVELS, {name: value for name, value in found.items() if name.startswith(MODEL)}).tables.rows
        for found in (tensors, again)
    )
    for one, other in zip(first, second, strict=True):
        assert np.abs(one / TOTAL - other / TOTAL).sum() < 0.02
    expected = load_model(str(stepped_folder)).tokenizer.decoder.state_dict()
    for name, value in run.model.tokenizer.decoder.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_a_start_that_is_neither_run_nor_model_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing-there"):
        SteppedRun(recipe_of(pictures)).start_from(str(tmp_path / "nothing-there"))


def test_frozen_parts_stay(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_of(pictures, optimizer={"steps": 2, "frozen": ["context"]})
    run = SteppedRun(recipe)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    for _ in range(2):
        run.train_step(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8))
    moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("tokenizer.decoder.") for name in moved)


def test_rounding_and_coordinates(pictures: Path) -> None:
    from vqcodec.transforms.steps import coordinate

    run = SteppedRun(recipe_of(pictures, rate={"plain": 1}))
    z = torch.full((1, 48, 1, 1), 0.55)
    rounded = run.rounded(z, torch.tensor([0.4]))
    assert rounded.flatten().tolist() == [1.0] * 3 + [0.0] * 45  # the plain layers round to the nearest
    assert coordinates(torch.tensor([7.0])).item() == pytest.approx(coordinate(7))


def test_selected_values_cost_less(pictures: Path) -> None:
    run = SteppedRun(recipe_of(pictures, rate={"select": True}))
    generator = torch.Generator().manual_seed(0)
    scaled, steps = 2 * torch.randn(1, 48, 8, 8, generator=generator), torch.tensor([20.0])
    nearest = torch.round(scaled)
    found = run.selected(scaled, nearest, steps)
    location, scale = run.model.context.predict(nearest, steps)

    def cost(values: torch.Tensor) -> torch.Tensor:
        return (scaled - values).square() + run.model.context.bits(values, location, scale) * np.log(4) / 12

    assert (cost(found) <= cost(nearest)).all()
    assert (cost(found) < cost(nearest)).any()
    row = run.train_step(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8))
    assert torch.isfinite(row["loss"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": {"steps": [5, 64]}}, "rate.steps"),
        ({"data": {"train": ["x"], "val": ["x"], "crop": 62}}, "data.crop: a multiple of 4"),
        ({"loss": {"ms_ssim": 0.3}}, "needs data.crop above 160"),
        ({"optimiser": {}}, "did you mean 'optimizer'"),
        ({"optimizer": {"steps": 1, "kind": "sgd"}}, "adamw, muon, soap"),
        ({"export": {"rungs": 1}}, "export.rungs: int >= 2"),
    ],
)
def test_bad_recipes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stepped_recipe(tree(**changes))


def test_training_starts_at_the_wavelet(photo: Image.Image) -> None:
    """The untrained decoder adds nothing: finely quantized, the transform alone gives the picture."""
    from vqcodec.train.stepped.run import Codec

    tokenizer = Codec(stepped_recipe(tree())).tokenizer
    pixels = np.asarray(photo)[:144, :192]
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        y = tokenizer.decode(tokenizer.encode(x, 0), step=0)
    error = float((y - x).square().mean())
    assert 0 < error < (step_size(0) / GAINS[0]) ** 2 / 12 * 1.1


@pytest.mark.parametrize("kind", ["soap", "muon"])
def test_other_optimizers_lower_the_loss(pictures: Path, kind: str) -> None:
    pytest.importorskip("pytorch_optimizer", reason="SOAP and Muon come with vqcodec[train]")
    optimizer = {"steps": 30, "kind": kind, "lr": 1e-3, "context_lr": 2e-3, "warmup": 1}
    run = SteppedRun(recipe_of(pictures, optimizer=optimizer, rate={"steps": [20, 20]}))
    batch = torch.randint(0, 255, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    losses = [float(run.train_step(batch)["loss"]) for _ in range(12)]
    assert losses[-1] < losses[0]


def test_the_bundled_recipe_is_whole() -> None:
    from vqcodec.train.recipe.load import read_tree
    from vqcodec.train.stepped.export import ladder_of

    recipe = stepped_recipe(read_tree("photo"))
    assert recipe.tokenizer.quantizer.channels == 192
    assert len(recipe.tokenizer.quantizer.layers) == 7
    ladder = ladder_of(recipe)
    assert (ladder[0].quality, ladder[-1].quality) == (1, 100)


@pytest.mark.parametrize("architecture", ["context", "factorized-ar"])
def test_a_prior_of_its_own_is_refused(stepped: str, tmp_path: Path, architecture: str) -> None:
    from vqcodec.train.prior.train_prior import PriorRecipe, run_prior

    recipe = PriorRecipe(stepped, (str(tmp_path),), 1, architecture)
    with pytest.raises(UsageError, match="trained with its other networks"):
        run_prior(recipe, tmp_path / "out")
