"""Every bundled recipe starts and takes steps; the large ones with thin networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.train.recipe import RECIPES, load_recipe
from vqcodec.train.run import CHECKPOINT

pytest.importorskip("accelerate", reason="the trainer's way to several processes")

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml") if not path.stem.endswith("-prior"))
MGVQ = {
    # Stride, groups, codewords and channels of each group: MGVQ's releases.
    "mgvq-f16-g4": (16, 4, 8192, 8),
    "mgvq-f16-g8": (16, 8, 2048, 4),
    "mgvq-f8-g4": (8, 4, 8192, 8),
    "mgvq-f8-g8": (8, 8, 2048, 4),
    "mgvq-f32-g8": (32, 8, 2048, 4),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures."""
    path = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(4):
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((80, 70), Image.Resampling.BICUBIC).save(path / f"{i}.png")
    return path


def thin(name: str, photos: Path) -> list[str]:
    """Changes that make a recipe one of seconds."""
    recipe = load_recipe(name)
    stages = len(recipe.tokenizer.backbone.widths)
    changes = [
        f"data.train={json.dumps([str(photos)])}",
        f"data.val={json.dumps([str(photos)])}",
        "data.crop=64",
        "data.batch=2",
        "data.workers=1",
        f"tokenizer.backbone.encoder_depths={[1] * stages}",
        f"tokenizer.backbone.decoder_depths={[1] * stages}",
        f"tokenizer.backbone.widths={[32] * stages}",
        "tokenizer.quantizer.codebook_size=16",
        "optimizer.steps=3",
        "optimizer.decay=0",
        "run.val_images=1",
        "run.val_crop=64",
        "run.compile=false",
        "run.log_every=1",
    ]
    if recipe.codebook.kmeans_at:
        changes.append("codebook.kmeans_at=1")
    if "gan/generator" in recipe.losses:
        changes += ["gan.start=1", "gan.layers=2", "gan.channels=4", "losses.rec/lpips=0"]
    return changes


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_takes_steps(name: str, photos: Path, tmp_path: Path) -> None:
    from vqcodec.train.tokenizer import train_tokenizer

    run = train_tokenizer(load_recipe(name, thin(name, photos)), tmp_path / "run", report=lambda _: None)
    assert run.step == 3
    assert (tmp_path / "run" / CHECKPOINT).is_file()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "total" in row]
    assert len(losses) == 3
    assert all(np.isfinite(row["total"]) for row in losses)
    assert ("gan/discriminator" in losses[-1]) == ("gan/generator" in run.recipe.losses)
    assert "gan/discriminator" not in losses[0]
    assert any((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize("name", sorted(MGVQ))
def test_mgvq_recipes_are_the_papers(name: str) -> None:
    from vqcodec.importing.mgvq import RELEASES

    recipe = load_recipe(name)
    quantizer = recipe.tokenizer.quantizer
    found = (recipe.tokenizer.stride, quantizer.groups, quantizer.codebook_size, *set(quantizer.widths))
    assert found == MGVQ[name]
    assert recipe.tokenizer in RELEASES.values()
    # Section 4, training setup and loss.
    assert recipe.losses == {
        "rec/l2": 2.0,
        "rec/charbonnier": 1.0,
        "rec/lpips": 1.0,
        "vq/commitment": 0.25,
        "vq/codebook": 1.0,
        "gan/generator": 0.5,
    }
    assert (recipe.optimizer.lr, recipe.optimizer.weight_decay, recipe.optimizer.betas) == (1e-5, 0.05, (0.9, 0.95))
    weights = np.array(recipe.masking.prefixes) / sum(recipe.masking.prefixes)
    assert weights[-1] == pytest.approx(0.7)
    assert recipe.masking.full == recipe.masking.block == 0


def test_lpips_without_its_trunk_is_one_line(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vqcodec.errors import InputError
    from vqcodec.train import run as run_module
    from vqcodec.train.tokenizer import train_tokenizer

    def out_of_reach(_: object) -> None:
        raise InputError("vgg16.pth: cannot be had")

    monkeypatch.setattr(run_module, "make_perceptual", out_of_reach)
    changes = [change for change in thin("mgvq-f16-g4", photos) if "lpips" not in change]
    with pytest.raises(InputError, match="cannot be had"):
        train_tokenizer(load_recipe("mgvq-f16-g4", changes), tmp_path / "run", report=lambda _: None)
    assert not (tmp_path / "run").exists()
