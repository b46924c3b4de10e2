"""Layers and ladders of exported models: only planes that training masked make a layer of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from PIL import Image
from safetensors.numpy import load_file

import vqcodec
from vqcodec.config.model import LadderStep
from vqcodec.errors import TargetError
from vqcodec.models.loading import write_model
from vqcodec.models.registry import WEIGHTS
from vqcodec.train.export import export_run, make_ladder
from vqcodec.train.file_layers import file_layers
from vqcodec.train.recipe.load import load_recipe

pytest.importorskip("accelerate", reason="the trainer's way to several processes")

WHOLE = ["masking.full=0.0", "masking.block=0.0"]


@pytest.mark.parametrize(
    ("name", "changes", "layers"),
    [
        # Branches that training never masks, as released: one layer, as in imported models.
        ("fqgan-dual-16", [], ((0, 1),)),
        ("fqgan-triple-8", [], ((0, 1, 2),)),
        ("xqgan-vp2-4096", [], ((0, 1),)),
        ("tiny-fqgan", [], ((0, 1),)),
        ("tiny-xqgan-vp2", [], ((0, 1),)),
        ("mgvq-f16-g4", ["masking.full=1.0"], ((0, 1, 2, 3),)),
        ("mgvq-f16-g4", [*WHOLE, "masking.prefixes=[0, 0, 0, 1]"], ((0, 1, 2, 3),)),
        # Masks make each group a step.
        ("mgvq-f16-g4", [], ((0,), (1,), (2,), (3,))),
        ("fqgan-dual-16", ["masking.full=0.5"], ((0,), (1,))),
        ("fqgan-dual-16", ["masking.full=0.5", "masking.prefixes=[0, 1]", "masking.block=0.5"], ((0,), (1,))),
        ("fqgan-dual-16", ["export.layers=[1, 1]"], ((0,), (1,))),
        # Stages and terms refine each other without masks.
        ("softvq-l-64", [], ((0,), (1, 2), (3, 4), (5, 6))),
    ],
)
def test_layers_are_what_training_can_leave_out(
    name: str, changes: list[str], layers: tuple[tuple[int, ...], ...]
) -> None:
    recipe = load_recipe(name, changes)
    assert file_layers(recipe) == layers
    assert [step.keep for step in make_ladder(recipe)] == list(range(1, len(layers) + 1))


def test_refinements_of_groups_that_are_always_there_are_a_layer() -> None:
    recipe = load_recipe("product-vq-refined", ["masking.full=1.0", "export.layers=[]"])
    groups, planes = recipe.tokenizer.quantizer.groups, len(recipe.tokenizer.quantizer.sizes)
    assert planes > groups
    assert file_layers(recipe) == (tuple(range(groups)), tuple(range(groups, planes)))
    assert {step.keep for step in make_ladder(recipe)} == {1, 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of tiny-fqgan, two steps long, and the picture that it saw; models in the folder are found by name."""
    from vqcodec.train.train_tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("fqgan")
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8))
    (folder / "photos").mkdir()
    small.resize((80, 70), Image.Resampling.BICUBIC).save(folder / "photos" / "a.png")
    where = json.dumps([str(folder / "photos")])
    changes = [f"data.train={where}", f"data.val={where}", "data.batch=2", "optimizer.steps=2", "codebook.kmeans_at=1"]
    quick = ["run.val_images=1", "run.tensorboard=false", "tokenizer.quantizer.codebook_size=16"]
    train_tokenizer(load_recipe("tiny-fqgan", [*changes, *quick]), folder / "run", report=lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_MODELS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def picture(run: Path) -> Image.Image:
    with Image.open(run / "photos" / "a.png") as opened:
        return opened.convert("RGB")


def test_no_quality_budget_or_preview_shows_one_branch_alone(run: Path, picture: Image.Image) -> None:
    config = export_run(run / "run", run / "model", report=lambda _: None)
    assert (config.layers, [step.keep for step in config.ladder]) == (((0, 1),), [1])
    whole = vqcodec.encode(picture, str(run / "model"), quality=100)
    assert vqcodec.encode(picture, str(run / "model"), quality=1) == whole
    assert vqcodec.encode(picture, str(run / "model"), max_bytes=len(whole)) == whole
    with pytest.raises(TargetError):
        vqcodec.encode(picture, str(run / "model"), max_bytes=len(whole) - 1)
    shown = [np.asarray(step.image) for step in vqcodec.previews(whole)]
    assert len(shown) == len(vqcodec.inspect(whole).layers) == 1
    np.testing.assert_array_equal(shown[0], np.asarray(vqcodec.decode(whole)))


def test_a_model_exported_with_a_layer_for_each_branch_still_works(run: Path, picture: Image.Image) -> None:
    now = export_run(run / "run", run / "now", name="now", report=lambda _: None)
    ladder = (LadderStep(1, 1), LadderStep(100, 2))
    before = structs.replace(now, name="before", layers=((0,), (1,)), ladder=ladder)
    before = write_model(run / "before", before, load_file(run / "now" / WEIGHTS))
    coarse, fine = (vqcodec.encode(picture, "before", quality=quality) for quality in (1, 100))
    assert vqcodec.inspect(fine).token_id == before.token_id
    assert (len(vqcodec.inspect(coarse).layers), len(vqcodec.inspect(fine).layers)) == (1, 2)
    whole = vqcodec.decode(vqcodec.encode(picture, "now"))
    np.testing.assert_array_equal(np.asarray(vqcodec.decode(fine)), np.asarray(whole))
    assert (np.asarray(vqcodec.decode(coarse)) != np.asarray(whole)).any()
