"""Every bundled recipe starts and takes steps; the large ones with thin networks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image

from vqcodec.config.backbones import VitConfig, VqganConfig
from vqcodec.config.quantizers import BinaryConfig, ResidualConfig, SoftVQConfig, SplitConfig
from vqcodec.errors import UsageError
from vqcodec.models.registry import read_config
from vqcodec.tokenizer import Tokenizer
from vqcodec.train.export import make_ladder
from vqcodec.train.recipe import schema
from vqcodec.train.recipe.load import RECIPES, load_recipe, read_tree
from vqcodec.train.run import CHECKPOINT
from vqcodec.train.stepped.recipe import is_stepped

from ..conftest import MODELS_FOR_TESTS
from ..teachers import SmallTeacher

pytest.importorskip("accelerate", reason="the trainer's way to several processes")

ALL = sorted(
    path.stem
    for path in RECIPES.glob("*.toml")
    if not path.stem.endswith("-prior") and not is_stepped(read_tree(path.stem))
)
# The others go on from a run that has to be there.
NAMES = [name for name in ALL if not load_recipe(name).start_from]
MGVQ = {
    # Stride, groups, codewords and channels of each group: MGVQ's releases.
    "mgvq-f16-g4": (16, 4, 8192, 8),
    "mgvq-f16-g4-mix": (16, 4, 8192, 8),
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
    """Changes that make a recipe run in seconds.

    LPIPS and pretrained weights are left out, teachers are small ones (`small_teachers`).
    """
    recipe = load_recipe(name)
    backbone, quantizer = recipe.tokenizer.backbone, recipe.tokenizer.quantizer
    changes = [
        f"data.train={json.dumps([str(photos)])}",
        f"data.val={json.dumps([str(photos)])}",
        "data.crop=64",
        "data.batch=2",
        "data.workers=1",
        "optimizer.steps=3",
        "optimizer.decay=0",
        "optimizer.accumulate=1",
        "run.val_images=1",
        "run.val_crop=64",
        "run.compile=false",
        "run.log_every=1",
        f"run.tensorboard={json.dumps(name == 'tiny')}",
    ]
    if isinstance(backbone, VitConfig):
        changes += [
            "pretrained.model=",
            "tokenizer.window=64",
            "tokenizer.overlap=8",
            "tokenizer.backbone.window=64",
            "tokenizer.backbone.encoder_width=64",
            "tokenizer.backbone.decoder_width=64",
            "tokenizer.backbone.encoder_depth=1",
            "tokenizer.backbone.decoder_depth=1",
        ]
    else:
        stages = len(backbone.widths)
        changes += [
            f"tokenizer.backbone.encoder_depths={[1] * stages}",
            f"tokenizer.backbone.decoder_depths={[1] * stages}",
            f"tokenizer.backbone.widths={[32] * stages}",
        ]
    if isinstance(backbone, VqganConfig):
        changes.append("tokenizer.backbone.latent=32")
    if isinstance(backbone, VqganConfig) and backbone.adapters:
        changes += [
            "tokenizer.window=64",
            "tokenizer.overlap=8",
            "tokenizer.backbone.adapter_window=64",
            "tokenizer.backbone.adapter_depth=1",
            "tokenizer.backbone.adapter_heads=4",
        ]
    if isinstance(quantizer, SplitConfig):
        if isinstance(quantizer.part, SoftVQConfig):
            changes.append("tokenizer.quantizer.part.codebook_size=16")
        elif quantizer.part.base.kind == "vq":
            changes.append("tokenizer.quantizer.part.base.codebook_size=16")
    elif isinstance(quantizer, ResidualConfig):
        changes.append("tokenizer.quantizer.base.codebook_size=16")
    elif not isinstance(quantizer, BinaryConfig):
        changes.append("tokenizer.quantizer.codebook_size=16")
    if recipe.codebook.kmeans_at:
        changes.append("codebook.kmeans_at=1")
    if recipe.perturbation.samples:
        changes.append("perturbation.nearest=8")
    if "gan/generator" in recipe.losses:
        changes += ["gan.start=1", "gan.layers=2", "gan.channels=4", "losses.rec/lpips=0"]
    for part in ("semantic", "middle", "detail"):
        if recipe.losses.get(f"align/{part}"):
            changes += [f"align.{part}.width=16", f"align.{part}.layers=1"]
    return changes


@pytest.fixture
def small_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the networks that a recipe would download; as wide as thin encoders are."""
    from vqcodec.train.adversarial import adversary
    from vqcodec.train.alignment import losses as alignment

    monkeypatch.setattr(alignment, "load_teacher", lambda *_: SmallTeacher(width=64))
    monkeypatch.setattr(adversary, "load_teacher", lambda *_: SmallTeacher())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("small_teachers")
def test_every_recipe_takes_steps(name: str, photos: Path, tmp_path: Path) -> None:
    from vqcodec.train.train_tokenizer import train_tokenizer

    run = train_tokenizer(load_recipe(name, thin(name, photos)), tmp_path / "run", report=lambda _: None)
    assert run.step == 3
    assert (tmp_path / "run" / CHECKPOINT).is_file()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "total" in row]
    assert len(losses) == 3
    assert all(np.isfinite(row["total"]) for row in losses)
    # The log contains the losses of the recipe, by the same names.
    weighed = {key for key, weight in run.recipe.losses.items() if weight}
    assert weighed <= set(losses[-1])
    assert ("gan/discriminator" in losses[-1]) == ("gan/generator" in weighed)
    assert "gan/discriminator" not in losses[0]
    assert (tmp_path / "run" / "tensorboard").exists() == (name == "tiny")


@pytest.mark.parametrize("name", ["product-vq", "mgvq-f16-g4", "fqgan-dual-16", "xqgan-vq-4096"])
@pytest.mark.usefixtures("small_teachers")
def test_every_backbone_has_an_adaptive_adversary(name: str, photos: Path, tmp_path: Path) -> None:
    from vqcodec.train.train_tokenizer import train_tokenizer

    changes = ["losses.gan/generator=0.5", "gan.adaptive=true", "gan.discriminator=patch", "gan.start=1"]
    small = ["gan.layers=2", "gan.channels=4"]
    train_tokenizer(load_recipe(name, [*thin(name, photos), *changes, *small]), tmp_path, report=lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "gan/discriminator" in row] == [2, 3]
    assert all(np.isfinite(row["total"]) for row in rows if "total" in row)


RELEASES = {
    **{f"xqgan-vq-{size}": (1, size, dim, 256) for size, dim in ((4096, 64), (8192, 32))},
    **{f"xqgan-vp2-{size}": (2, size, 32, 256) for size in (4096, 16384)},
    **{f"xqgan-msvr10p2-{size}": (2, size, 32, 286) for size in (4096, 8192, 16384)},
    **{f"xqgan-msbr10p2-{2**bits}": (2, 2**bits, bits, 286) for bits in (12, 14)},
    **{f"fqgan-{kind}-16": (parts, 16384, 8, 256) for kind, parts in (("dual", 2), ("triple", 3))},
    **{f"fqgan-{kind}-8": (parts, 16384, 8, 1024) for kind, parts in (("dual", 2), ("triple", 3))},
}
"""Branches, codewords and channels of each, indices of a branch for 256 px."""
PARAMETERS_M = {
    "xqgan-vq-4096": (171, 173),
    "fqgan-dual-16": (105, 112),
    "softvq-l-64": (605, 611),
    "softvq-bl-64": (388, 394),
    "softvq-b-64": (171, 176),
    "softvq-s-64": (44, 47),
    "softvq-s-32": (44, 47),
    "softvq-gmm-s-64": (44, 47),
    "softvq-rq2-s-64": (44, 47),
    "softvq-pq2-s-64": (44, 47),
    "mgvq-f16-g4-mix": (215, 217),
}
"""Bounds of the published numbers, millions."""


@pytest.mark.parametrize("name", RELEASES)
def test_released_quantizers(name: str) -> None:
    config = load_recipe(name).tokenizer
    branches, size, dim, indices = RELEASES[name]
    quantizer = config.quantizer
    assert quantizer.groups == branches
    assert set(quantizer.sizes) == {size}
    assert quantizer.channels == branches * dim
    shapes = config.window_shapes()
    assert sum(math.prod(shape) for shape in shapes) == branches * indices


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("tiny", "product-vq"))])
def test_large_networks_can_be_built(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = Tokenizer(recipe.tokenizer, recipe.codebook.learning)
    count = sum(value.numel() for value in model.parameters()) / 1e6
    low, high = PARAMETERS_M.get(name, (70, 700))
    assert low < count < high


UNRELEASED = {
    "xqgan-cnn-p2-16384",
    "xqgan-rq4-4096",
    "xqgan-lfq-65536",
    "softvq-s-64",
    "softvq-s-32",
    "softvq-gmm-s-64",
    "softvq-rq2-s-64",
    "softvq-pq2-s-64",
}
"""Variants that the papers describe and no published weights exist of."""


def test_released_networks_are_those_that_can_be_imported() -> None:
    from vqcodec.importing import fqgan, softvq, xqgan

    releases = {**fqgan.RELEASES, **softvq.RELEASES, **xqgan.RELEASES}
    assert {name for name in NAMES if name.startswith(("xqgan", "fqgan", "softvq"))} <= set(releases) | UNRELEASED
    for name in set(releases) & set(NAMES):
        assert load_recipe(name).tokenizer == releases[name], name


def test_a_table_of_another_kind_replaces_its_base(tmp_path: Path) -> None:
    base = load_recipe("xqgan-msvr10p2-4096").tokenizer.quantizer
    other = load_recipe("xqgan-msbr10p2-4096").tokenizer.quantizer
    assert isinstance(base, SplitConfig)
    assert isinstance(other, SplitConfig)
    assert other.part.base == BinaryConfig(12, spherical=True)
    assert other.part.scales == base.part.scales
    (tmp_path / "own.toml").write_text(
        f'base = "{RECIPES / "xqgan-msvr10p2-4096.toml"}"\n[tokenizer.quantizer.part.base]\ndim = 16\n'
    )
    assert load_recipe(str(tmp_path / "own.toml")).tokenizer.quantizer.channels == 32


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tiny-xqgan-vq", "data.crop=128", "the network sees pictures of 64 px only"),
        ("tiny-xqgan-bsq", "codebook.kmeans_at=10", "kmeans_at = 0"),
        ("tiny-xqgan-msvr", "masking.full=0.5", r"masking\.full: 1 for"),
        ("tiny-xqgan-msvr", "perturbation.samples=0.1", "perturbation.samples: only"),
        ("tiny-softvq", "losses.rate/bits=1", "rate/bits needs the quantizer product-vq"),
        ("tiny-xqgan-vq", "losses.vq/disentanglement=1", "several branches"),
        ("tiny-xqgan-vq", "losses.align/semantik=1", "did you mean 'align/semantic'"),
        ("tiny-xqgan-vq", "losses.rec/l2=-1", "at least 0 needed"),
        ("tiny-xqgan-vq", "warmup.rec/l3=5", r"recipe\.warmup: unknown loss"),
        ("tiny-fqgan", "align.semantic.shared=true", "ok"),
        ("tiny-softvq", "optimizer.floor=2", "floor"),
        ("tiny-softvq", "tuning.encoder=lora", "needs weights to start from"),
        ("tiny-softvq", 'export.packed=["decoder"]', "decoder only where"),
        ("mgvq-f16-g4", "tokenizer.quantizer.codebook_size=65537", "codebook_size: int <= 65536"),
    ],
)
def test_what_cannot_train_is_refused(name: str, change: str, message: str) -> None:
    if message == "ok":
        # A loss without a weight has no rules.
        load_recipe(name, [change])
        return
    with pytest.raises(UsageError, match=message):
        load_recipe(name, [change])


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
    from vqcodec.train.train_tokenizer import train_tokenizer

    def out_of_reach(_: object) -> None:
        raise InputError("vgg16.pth: not available")

    monkeypatch.setattr(run_module, "make_perceptual", out_of_reach)
    changes = [change for change in thin("mgvq-f16-g4", photos) if "lpips" not in change]
    with pytest.raises(InputError, match="not available"):
        train_tokenizer(load_recipe("mgvq-f16-g4", changes), tmp_path / "run", report=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_the_stages_of_a_product_vq_model_follow_each_other() -> None:
    first, refined = (load_recipe(f"product-vq{end}") for end in ("", "-refined"))
    quantizer = refined.tokenizer.quantizer
    assert structs.replace(quantizer, refinements=()) == first.tokenizer.quantizer
    assert refined.tokenizer.backbone == first.tokenizer.backbone
    assert (refined.start_from, refined.codebook.refit) == ("runs/product-vq", ("balance", "refinements"))
    trained = read_config(MODELS_FOR_TESTS / "product-vq")
    assert trained.tokenizer == refined.tokenizer
    assert trained.ladder == make_ladder(refined)


def choices(table: type[object], key: str) -> set[str]:
    """Values that a setting may have."""
    return set(get_args(get_type_hints(table)[key]))


def test_choices_of_recipes_are_the_names_of_the_tables() -> None:
    from vqcodec.quantizers.codebook import LEARNING
    from vqcodec.quantizers.estimators import ESTIMATORS
    from vqcodec.train.alignment.losses import MEASURES
    from vqcodec.train.validate_metrics import BEST_BY

    assert choices(schema.CodebookRecipe, "learning") == set(LEARNING)
    assert choices(schema.OptimizerRecipe, "estimator") == set(ESTIMATORS)
    assert choices(schema.AlignmentRecipe, "objective") == set(MEASURES)
    assert choices(schema.RunRecipe, "best") == {"", *BEST_BY}
