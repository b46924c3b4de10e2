"""The factorized autoregressive model: its sizes, labels and guidance, top-k and top-p, and its training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image

from vqcodec.backbones.rotary import grid_angles, turned
from vqcodec.errors import InputError, ModelError, UsageError
from vqcodec.sampling.factorized_ar import Far, FarConfig, read_far, write_far
from vqcodec.sampling.factorized_ar_blocks import hidden_width
from vqcodec.sampling.factorized_ar_draw import Drawing, chances, draw
from vqcodec.train.prior.factorized_ar import factorized_ar_bits, train_factorized_ar
from vqcodec.train.prior.factorized_ar_data import FactorizedArCrops
from vqcodec.train.prior.loop import learning_rate_at
from vqcodec.train.prior.recipe import prior_recipe
from vqcodec.train.prior.run_factorized_ar import CLASSES
from vqcodec.train.prior.train_prior import PriorRecipe, run_prior
from vqcodec.train.recipe.load import read_tree

Invoke = Callable[..., tuple[int, str, str]]
CONFIG = FarConfig((16, 8), (4, 5), width=32, heads=2, layers=2, head_layers=1, classes=3)
RECIPE = PriorRecipe(
    "", (), steps=60, architecture="factorized-ar", batch=8, crop=4, units=32, heads=2, depth=2, head_layers=1, lr=2e-2
)


def trained_alike() -> Far:
    """Model with weights large enough that every part changes the output."""
    torch.manual_seed(0)
    model = Far(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


@pytest.mark.parametrize(("recipe", "millions"), [("far-base-prior", 415), ("far-large-prior", 898)])
def test_the_recipes_have_the_sizes_of_the_paper(recipe: str, millions: int) -> None:
    """Parameter counts of FQGAN, table 7: two codebooks of 16384 codewords, ImageNet classes."""
    settings = prior_recipe(read_tree(recipe))
    shape = (settings.crop, settings.crop)
    config = FarConfig(
        (16384, 16384), shape, settings.units, settings.heads, settings.depth, settings.head_layers, 1000
    )
    with torch.device("meta"):
        found = sum(p.numel() for p in Far(config, settings.dropout).parameters())
    assert found / 1e6 == pytest.approx(millions, rel=0.01)
    assert settings.batch * 8 == 256
    assert settings.schedule == "constant"
    assert (settings.labels, settings.lr) == ("folder", 2e-4)


def test_the_gated_unit_is_llamas() -> None:
    assert [hidden_width(width) for width in (1024, 1280, 32)] == [2816, 3584, 88]


def test_rotary_positions_tell_distances_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)
    angles = grid_angles(6, 6, 16).reshape(6, 6, 8)

    def product(a: tuple[int, int], b: tuple[int, int]) -> float:
        return float((turned(q, angles[a][None]) * turned(k, angles[b][None])).sum())

    assert product((1, 2), (3, 1)) == pytest.approx(product((2, 4), (4, 3)), abs=1e-5)
    assert product((1, 2), (3, 1)) != pytest.approx(product((1, 2), (1, 3)), abs=1e-3)
    assert turned(q, angles[4, 5][None]).norm() == pytest.approx(float(q.norm()), abs=1e-5)


def test_a_cache_makes_no_difference() -> None:
    """Sampling with cached keys uses the same probabilities as the model without a cache."""
    model = trained_alike()
    for label in (None, 1):
        planes = draw(model, (4, 5), torch.Generator().manual_seed(7), Drawing(temperature=1e-4, label=label))
        labels = None if label is None else torch.tensor([label])
        codes = planes.flatten(1).T
        logits = model.logits(model.features(planes[None], labels)[0], codes[:, :-1])
        for s, part in enumerate(logits):
            assert torch.equal(part.argmax(1), codes[:, s])


def test_guidance_is_that_of_the_logits() -> None:
    model = trained_alike()
    scale, label = 3.0, 2
    drawing = Drawing(temperature=1e-4, label=label, guidance=scale)
    planes = draw(model, (4, 5), torch.Generator().manual_seed(7), drawing)
    codes = planes.flatten(1).T
    both = [
        model.logits(model.features(planes[None], torch.tensor([n]))[0], codes[:, :-1]) for n in (label, CONFIG.classes)
    ]
    for s in range(2):
        with_class, without = both[0][s], both[1][s]
        assert torch.equal((without + scale * (with_class - without)).argmax(1), codes[:, s])
        assert not torch.allclose(with_class, without, atol=1e-3)


def test_top_k_and_top_p_leave_out_the_unlikely() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    shuffled = logits[:, [2, 0, 3, 1]]
    for drawing, kept in (
        (Drawing(), 4),
        (Drawing(top_k=2), 2),
        (Drawing(top_k=9), 4),
        (Drawing(top_p=0.81), 3),
        (Drawing(top_p=0.79), 2),
        (Drawing(top_p=1e-6), 1),
        (Drawing(top_k=1, top_p=0.9), 1),
    ):
        found = chances(shuffled, drawing)[0, [1, 3, 0, 2]]
        assert (found > 0).tolist() == [n < kept for n in range(4)], drawing
    halved = chances(logits, Drawing(temperature=0.5))[0]
    torch.testing.assert_close(halved, (logits[0].exp() ** 2) / (logits[0].exp() ** 2).sum())


def test_the_class_decides_what_is_drawn_and_some_crops_are_shown_without() -> None:
    """Tiles of class c hold only index c."""
    tiles = [np.full((2, 6, 6), c, np.int16) for c in (0, 1, 2) for _ in range(3)]
    labels = [c for c in (0, 1, 2) for _ in range(3)]
    model = train_factorized_ar(tiles, (4, 4), RECIPE, lambda _: None, labels=labels, classes=3)
    assert model.config.classes == 3
    for label in range(3):
        planes = draw(model, (4, 4), torch.Generator().manual_seed(0), Drawing(label=label, top_k=1))
        assert (planes == label).all()
    assert factorized_ar_bits(model, tiles, labels).mean() < factorized_ar_bits(model, tiles).mean() / 2
    crops = FactorizedArCrops(tiles, 2, structs.replace(RECIPE, label_dropout=0.25), labels, 3)
    shown = torch.cat([crops.batch(step)[1] for step in range(60)])
    assert float((shown == 3).float().mean()) == pytest.approx(0.25, abs=0.07)
    planes, numbers = crops.batch(3)
    for grid, number in zip(planes, numbers.tolist(), strict=True):
        assert number in (3, int(grid[0, 0, 0]))


def test_processes_share_what_one_would_draw() -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 8, (2, 6, 7)).astype(np.int16) for _ in range(5)]
    labels = [0, 1, 2, 1, 0]
    whole = FactorizedArCrops(tiles, 2, RECIPE, labels, 3)
    half = structs.replace(RECIPE, batch=4)
    parts = [FactorizedArCrops(tiles, 2, half, labels, 3, process, 2) for process in range(2)]
    for step in range(3):
        for i in range(2):
            assert torch.equal(whole.batch(step)[i], torch.cat([part.batch(step)[i] for part in parts]))


def test_the_rate_is_constant_or_falls() -> None:
    recipe = structs.replace(RECIPE, steps=1000, lr=1.0)
    assert [learning_rate_at(recipe, step, 0.5) for step in (0, 49)] == pytest.approx([0.505 / 100, 0.505 / 2])
    constant = structs.replace(recipe, schedule="constant")
    assert [learning_rate_at(constant, step, 0.999) for step in (49, 999)] == pytest.approx([0.5, 1.0])


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 8, (2, 6, 7)).astype(np.int16) for _ in range(5)]
    recipe = structs.replace(RECIPE, steps=8, dropout=0.2, checkpoint_every=5)
    whole = train_factorized_ar(tiles, (8, 8), recipe, lambda _: None, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    again = train_factorized_ar(tiles, (8, 8), recipe, lambda _: None, tmp_path / "b.pt", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 30}, "units"),
        ({"heads": 0}, "heads"),
        ({"labels": "file"}, "labels"),
        ({"schedule": "step"}, "schedule"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"recipe.{message}"):
        prior_recipe({"model": "m", "train": [], "steps": 1, "architecture": "factorized-ar", **changes})


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Folder of pictures of different sizes in two class folders."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 256, (40 + 30 * i, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data"


def test_the_command_trains_with_classes_and_draws_one(
    tiny_model: str, classes: Path, tmp_path: Path, invoke: Invoke
) -> None:
    made = tmp_path / "made"
    said: list[str] = []
    recipe = structs.replace(
        RECIPE, model=tiny_model, train=(str(classes),), val=(str(classes),), steps=3, labels="folder", crop_px=64
    )
    run_prior(recipe, made, report=said.append)
    assert "4 pictures of 2 classes" in said[0]
    assert json.loads((made / CLASSES).read_text()) == ["cat", "dog"]
    out = tmp_path / "a.png"
    options = ("--label", "1", "--guidance", "2", "--top-k", "3", "--top-p", "0.9")
    assert invoke("sample", "-m", made, "-o", out, "--size", "64x64", *options)[0] == 0
    with Image.open(out) as image:
        assert image.size == (64, 64)
    for words, message in (
        (("--label", "2"), "0..1"),
        (("--guidance", "2"), "needs a label"),
        (("--top-p", "0"), "top-p"),
        (("--integer", "--top-k", "3"), "float model"),
    ):
        code, _, error = invoke("sample", "-m", made, "-o", tmp_path / "b.png", "--size", "64x64", *words)
        assert code == 2, words
        assert message in error
    (classes / "lonely.png").write_bytes((classes / "cat" / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"lonely\.png: is in no folder"):
        run_prior(recipe, tmp_path / "other", report=said.append)


def test_two_processes_are_one_with_the_double_batch(tiny_model: str, classes: Path, tmp_path: Path) -> None:
    def trained(name: str, processes: int, batch: int) -> Far:
        settings = [
            f"model={tiny_model}",
            f"train={json.dumps([str(classes)])}",
            "steps=4",
            'architecture="factorized-ar"',
            'labels="folder"',
            "units=32",
            "heads=2",
            "depth=1",
            "crop=2",
            f"batch={batch}",
        ]
        (tmp_path / "recipe.toml").write_text("")
        launch = (
            [] if processes == 1 else ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
        )
        words = ["train", "prior", str(tmp_path / "recipe.toml"), "-o", str(tmp_path / name)]
        words += [word for change in settings for word in ("--set", change)]
        done = subprocess.run(
            [sys.executable, "-m", *launch, "vqcodec.cli", *words],
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found = read_far(tmp_path / name, (16,) * 4)
        assert found is not None
        return found

    one, two = trained("one", 1, 4), trained("two", 2, 2)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(
            two.state_dict()[name], value, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_config_that_cannot_be_is_refused(tmp_path: Path) -> None:
    write_far(tmp_path, Far(CONFIG))
    path = tmp_path / "sampler.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "heads": 3}))
    with pytest.raises(ModelError, match="width: 32 is not a multiple"):
        read_far(tmp_path, CONFIG.sizes)
