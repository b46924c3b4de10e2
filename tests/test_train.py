"""The trainer at tiny size: order, masking, codebooks, recipes, resuming and export."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqcodec
from vqcodec.config import MISSING, ProductVQConfig
from vqcodec.errors import InputError, OutputError, UsageError
from vqcodec.quantizers.product import ProductVQ
from vqcodec.quantizers.vq import CodebookBank, nearest
from vqcodec.train.data import Crops, prefetch, scan
from vqcodec.train.export import export_run
from vqcodec.train.masking import draw_kept
from vqcodec.train.recipe import MaskingRecipe, load_recipe
from vqcodec.train.tokenizer import TokenizerRun, learning_rate, train_tokenizer


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of six small pictures, one of them damaged, one too small."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    path = folder / "train.tar"
    with tarfile.open(path, "w") as tar:
        for i, size in enumerate([(90, 70), (64, 64), (200, 120), (65, 130), (8, 8), (80, 80)]):
            small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            file = folder / f"{i}.png"
            small.resize(size, Image.Resampling.BICUBIC).save(file)
            if i == 5:
                file.write_bytes(file.read_bytes()[:200])
            tar.add(file, arcname=file.name)
    return path


@pytest.fixture
def changes(shard: Path) -> list[str]:
    """A recipe of seconds."""
    return [
        f"data.train={json.dumps([str(shard)])}",
        f"data.val={json.dumps([str(shard)])}",
        "data.crop=64",
        "data.batch=2",
        "tokenizer.backbone.widths=[8,8]",
        "tokenizer.backbone.encoder_depths=[1,1]",
        "tokenizer.backbone.decoder_depths=[1,1]",
        "tokenizer.quantizer.groups=2",
        "tokenizer.quantizer.codebook_size=8",
        "optimizer.steps=12",
        "optimizer.kmeans_at=4",
        "optimizer.decay=4",
        "optimizer.revive_every=2",
        "run.log_every=2",
        "run.val_every=6",
        "run.save_every=1",
        "run.val_images=2",
        "run.precision=fp32",
    ]


def silent(_: str) -> None:
    """Nothing to say in tests."""


def test_order_depends_on_seed_and_step_only(shard: Path) -> None:
    pictures = scan((str(shard),), 64)
    one, two = (Crops(pictures, 64, 3, 5, 0.5, 0.5, 100) for _ in range(2))
    first = [one.batch(step) for step in range(6)]
    assert torch.equal(first[4], two.batch(4))
    assert not torch.equal(first[4], first[5])
    other = Crops(pictures, 64, 3, 6, 0.5, 0.5, 100)
    assert not torch.equal(first[4], other.batch(4))
    assert [step for step, _ in prefetch(one, 3, 7)] == [3, 4, 5, 6]
    assert all(torch.equal(batch, first[step]) for step, batch in prefetch(two, 1, 5))


def test_bad_pictures_are_skipped_and_named(shard: Path) -> None:
    pictures = scan((str(shard),), 64)
    assert len(pictures.members) == 5
    assert any(line.startswith("4.png: 8x8 is below 64") for line in pictures.skipped)
    crops = Crops(pictures, 64, 8, 0, 0.5, 0.5, 100)
    for step in range(4):
        crops.batch(step)
    assert list(crops.damaged) == ["5.png"]


def test_missing_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        scan((str(tmp_path / "absent"),), 64)
    with pytest.raises(InputError, match="no picture"):
        scan((str(tmp_path),), 64)


def test_kept_groups_are_a_prefix_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = draw_kept(MaskingRecipe(full=0.3, block=0.4), 200, 8, 6, 5, generator)
    assert kept.shape == (200, 8, 6, 5)
    assert bool((kept[:, 1:] <= kept[:, :-1]).all())
    per_sample = kept.sum(1).flatten(1)
    varied = (per_sample != per_sample[:, :1]).any(1).float().mean()
    assert 0.25 < varied < 0.5
    assert set(per_sample.unique().tolist()) == set(range(9))


def test_nearest_agrees_with_all_distances() -> None:
    torch.manual_seed(0)
    z, books = torch.randn(3, 50, 4), torch.randn(3, 20, 4)
    assert torch.equal(nearest(z, books), torch.cdist(z, books).argmin(-1))


def test_codebooks_find_clusters_and_dead_codes_come_back() -> None:
    torch.manual_seed(0)
    centres = torch.randn(1, 8, 4) * 10
    z = (centres[:, :, None] + 0.1 * torch.randn(1, 8, 100, 4)).reshape(1, -1, 4)
    bank = CodebookBank(1, 8, 4)
    bank.kmeans(z, torch.Generator().manual_seed(3), iterations=20)
    error = (z - bank.lookup(nearest(z, bank.codebooks))).square().sum(-1).mean()
    assert error < 0.4 * (z - z.mean(1, keepdim=True)).square().sum(-1).mean()
    bank.codebooks[0, 0] = 1e3
    bank.sums[0, 0] = 1e3 * bank.counts[0, 0]
    bank.update(z, nearest(z, bank.codebooks))
    assert bank.codebooks[0, 0].max() > 900
    for _ in range(100):
        bank.update(z, nearest(z, bank.codebooks))
    assert bank.revive(z, torch.Generator().manual_seed(1)) >= 1
    assert bank.codebooks.abs().max() < 60


def test_dequantize_fills_what_is_missing() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(3, 5, 2)).eval()
    with torch.no_grad():
        quantizer.fill.copy_(torch.tensor([[7.0, 8], [9, 10], [11, 12]]))
    z = torch.randn(2, 6, 3, 4)
    planes = quantizer.quantize(z)
    z_q, kept = quantizer.dequantize(planes)
    assert torch.equal(torch.stack(quantizer.quantize(z_q)), torch.stack(planes))
    assert bool(kept.all())
    planes[1] = torch.full_like(planes[1], MISSING)
    z_q, kept = quantizer.dequantize(planes)
    assert z_q[0, 2:4, 0, 0].tolist() == [9, 10]
    assert kept[:, 1].sum() == 0


def test_straight_through_gradient_reaches_z() -> None:
    quantizer = ProductVQ(ProductVQConfig(2, 4, 2)).eval()
    z = torch.randn(1, 4, 2, 2, requires_grad=True)
    quantizer(z).z_q.sum().backward()
    assert z.grad is not None
    assert bool((z.grad != 0).all())


def test_resumed_run_equals_the_unbroken_one(changes: list[str], tmp_path: Path) -> None:
    recipe = load_recipe("photo", changes)
    whole = train_tokenizer(recipe, tmp_path / "whole", report=silent)
    part = load_recipe("photo", changes)
    run = TokenizerRun(part, tmp_path / "part")
    (tmp_path / "part").mkdir()
    crops = Crops(scan(part.data.train, 64), 64, 2, part.run.seed, part.data.min_scale, part.data.size_weight, 100)
    for step in range(7):
        run.train_step(crops.batch(step))
    run.save()
    resumed = train_tokenizer(part, tmp_path / "part", resume=True, report=silent)
    assert resumed.step == whole.step == 12
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_a_run_is_never_overwritten_by_accident(changes: list[str], tmp_path: Path) -> None:
    recipe = load_recipe("photo", [*changes, "optimizer.steps=1", "optimizer.decay=0"])
    train_tokenizer(recipe, tmp_path / "run", report=silent)
    with pytest.raises(OutputError, match="--resume"):
        train_tokenizer(recipe, tmp_path / "run", report=silent)


def test_exported_model_encodes_at_once(changes: list[str], tmp_path: Path) -> None:
    recipe = load_recipe("photo", changes)
    train_tokenizer(recipe, tmp_path / "run", report=silent)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "rec/rmse" in row] == [2, 4, 6, 8, 10, 12]
    assert all(len(row["val/psnr"]) == 2 for row in rows if "val/psnr" in row)
    config = export_run(tmp_path / "run", tmp_path / "model", name="mine", report=silent)
    assert config.name == "mine"
    image = Image.linear_gradient("L").convert("RGB")
    data = vqcodec.encode(image, str(tmp_path / "model"))
    assert vqcodec.inspect(data).token_id == config.token_id
    assert vqcodec.truncate(data, keep=1) != data


def test_learning_rate_warms_up_and_decays() -> None:
    optimizer = load_recipe("photo", ["optimizer.steps=1000", "optimizer.decay=200", "optimizer.warmup=100"]).optimizer
    assert learning_rate(optimizer, 0) == pytest.approx(optimizer.lr / 100)
    assert learning_rate(optimizer, 500) == optimizer.lr
    assert learning_rate(optimizer, 999) < 0.01 * optimizer.lr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.stepz=5", "unknown key 'stepz'; did you mean 'steps'"),
        ("optimizer.steps=many", "steps: int needed"),
        ("data.crop=100", "multiple"),
        ("losses.rec/mze=1.0", "unknown loss 'rec/mze'"),
        ("tokenizer.stride=8", "stride"),
        ("run.precision=fp8", "precision"),
        ("run.log_every=0", "at least 1"),
        ("tokenizer.quantizer.groups=32", r"1\.\.16"),
        ("nonsense", "key=value"),
    ],
)
def test_bad_recipes_end_in_one_line(change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("photo", [change])


def test_unknown_recipe_lists_those_at_hand() -> None:
    with pytest.raises(InputError, match="photo"):
        load_recipe("foto")
