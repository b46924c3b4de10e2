"""The trainer at tiny size: order, masking, codebooks, recipes, resuming and export."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import vqcodec
from vqcodec.errors import InputError, ModelError, OutputError, UsageError
from vqcodec.models.loading import load_model
from vqcodec.train.checkpoint import read_checkpoint, write_checkpoint
from vqcodec.train.data.crops import Crops
from vqcodec.train.data.loader import Loader
from vqcodec.train.data.pictures import Pictures, scan
from vqcodec.train.export import export_run
from vqcodec.train.logs import LOG
from vqcodec.train.quantization.nested_masking import draw_kept
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import DataRecipe, MaskingRecipe
from vqcodec.train.run import CHECKPOINT
from vqcodec.train.schedule import learning_rate_at
from vqcodec.train.train_tokenizer import train_tokenizer


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
        "tokenizer.quantizer.dims=[]",
        "optimizer.steps=12",
        "codebook.kmeans_at=4",
        "optimizer.decay=4",
        "codebook.revive_every=2",
        "run.log_every=2",
        "run.val_every=6",
        "run.save_every=1",
        "run.val_images=2",
        "run.precision=fp32",
        "run.val_crop=64",
        "run.tensorboard=false",
    ]


def silent(_: str) -> None:
    """No report in tests."""


def data(crop: int = 64, batch: int = 3, **settings: object) -> DataRecipe:
    """Settings that name no data."""
    return DataRecipe((), (), crop, batch, **settings)  # type: ignore[arg-type]


def test_crops_of_resident_pictures_train_and_resume(changes: list[str], tmp_path: Path) -> None:
    own = [
        *changes,
        "data.resident=true",
        "optimizer.steps=6",
        "optimizer.decay=0",
        'export.packed=["encoder","decoder"]',
    ]
    whole = train_tokenizer(load_recipe("tiny", own), tmp_path / "whole", report=silent)
    train_tokenizer(load_recipe("tiny", [*own, "run.stop_at=3"]), tmp_path / "parts", report=silent)
    parts = train_tokenizer(load_recipe("tiny", own), tmp_path / "parts", resume=True, report=silent)
    for name, value in whole.average.values.items():
        assert torch.equal(parts.average.values[name], value), name
    export_run(tmp_path / "whole", tmp_path / "model", report=silent)
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    packed = {name.split(".")[0] for name, value in tensors.items() if value.dtype == np.int8}
    assert packed == {"encoder", "decoder"}
    own_weights = whole.average.values["decoder.stages.0.0.conv1.weight"]
    read = load_model(str(tmp_path / "model")).tokenizer.decoder.stages[0][0].conv1.weight
    torch.testing.assert_close(read, own_weights, atol=float(own_weights.abs().max()) / 100, rtol=0)


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_masks_keep_their_shares(per: str) -> None:
    recipe = MaskingRecipe(full=0.5, block=0.0, prefixes=(1.0, 0.0, 3.0, 0.0), per=per)
    generator = torch.Generator().manual_seed(0)
    maps = torch.cat([draw_kept(recipe, 8, 4, (3, 2), generator) for _ in range(400)])
    keeps = maps.sum(1).flatten(1)
    assert (keeps == keeps[:, :1]).all()
    alike = (keeps[:, 0].reshape(400, 8) == keeps[::8, :1]).all(1).float().mean()
    assert (alike == 1) if per == "batch" else (alike < 0.1)
    shares = [float((keeps[:, 0] == k).float().mean()) for k in range(1, 5)]
    assert shares == pytest.approx([0.125, 0, 0.375, 0.5], abs=0.08 if per == "batch" else 0.03)


def test_order_depends_on_seed_and_step_only(shard: Path) -> None:
    pictures = scan((str(shard),), 64)
    one, two = (Crops(pictures, data(), 5) for _ in range(2))
    first = [one.batch(number) for number in range(6)]
    assert torch.equal(first[4], two.batch(4))
    assert not torch.equal(first[4], first[5])
    assert not torch.equal(first[4], Crops(pictures, data(), 6).batch(4))
    for workers in (1, 3):
        assert all(torch.equal(a, b) for a, b in zip(Loader(two, 1, 5, workers), first[1:5], strict=True))


def test_processes_share_the_global_batch(shard: Path) -> None:
    pictures = scan((str(shard),), 64)
    whole = Crops(pictures, data(batch=4), 5)
    parts = [Crops(pictures, data(batch=2), 5, process, 2) for process in range(2)]
    for number in range(3):
        assert torch.equal(whole.batch(number), torch.cat([part.batch(number) for part in parts]))


def test_an_epoch_holds_every_picture_as_often_as_its_size_says(tmp_path: Path) -> None:
    for i, side in enumerate((64, 64, 64, 64, 256)):
        Image.new("RGB", (side, side), (i * 50, 0, 0)).save(tmp_path / f"{i}.png")
    crops = Crops(scan((str(tmp_path),), 64), data(size_weight=0.5), 0)
    epochs = [[int(crops.crop(epoch * 8 + i)[0, 0, 0]) for i in range(8)] for epoch in range(3)]
    assert all(sorted(epoch) == [0, 50, 100, 150, 200, 200, 200, 200] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_bad_pictures_are_skipped_and_named(shard: Path) -> None:
    pictures = scan((str(shard),), 64)
    assert len(pictures.members) == 5
    assert any(line.startswith("4.png: 8x8 is below 64") for line in pictures.skipped)
    crops = Crops(pictures, data(), 0)
    for number in range(4):
        assert crops.batch(number).shape == (3, 3, 64, 64)
    assert list(crops.damaged) == ["5.png"]


def test_nothing_but_damaged_pictures_ends_in_one_line(shard: Path) -> None:
    members = [member for member in scan((str(shard),), 64).members if member.name == "5.png"]
    with pytest.raises(InputError, match="could not be decoded"):
        Crops(Pictures(members, []), data(), 0).batch(0)


def test_the_loader_knows_its_own_pace(shard: Path) -> None:
    loader = Loader(Crops(scan((str(shard),), 64), data(), 0), 0, 4, 2)
    assert loader.crops_per_s == 0
    assert len(list(loader)) == 4
    assert loader.made == 12
    assert loader.crops_per_s == pytest.approx(12 * 2 / loader.busy_s)


def test_a_failing_loader_says_why(shard: Path) -> None:
    members = [member for member in scan((str(shard),), 64).members if member.name == "5.png"]
    with pytest.raises(InputError, match="could not be decoded"):
        list(Loader(Crops(Pictures(members, []), data(), 0), 0, 4, 1))


def test_missing_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        scan((str(tmp_path / "absent"),), 64)
    with pytest.raises(InputError, match="no picture"):
        scan((str(tmp_path),), 64)


def test_kept_groups_are_a_prefix_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = draw_kept(MaskingRecipe(full=0.3, block=0.4), 200, 8, (6, 5), generator)
    assert kept.shape == (200, 8, 6, 5)
    assert bool((kept[:, 1:] <= kept[:, :-1]).all())
    per_sample = kept.sum(1).flatten(1)
    varied = (per_sample != per_sample[:, :1]).any(1).float().mean()
    assert 0.25 < varied < 0.5
    assert set(per_sample.unique().tolist()) == set(range(9))


def losses(folder: Path) -> dict[int, dict[str, float]]:
    """Values of log.jsonl by step, without the times."""
    rows: dict[int, dict[str, float]] = {}
    for line in (folder / LOG).read_text().splitlines():
        row = json.loads(line)
        kept = {name: value for name, value in row.items() if not name.startswith("time/")}
        rows.setdefault(row["step"], {}).update(kept)
    return rows


FULL = [
    "codebook.rate=0.01",
    "codebook.rate_ramp=2",
    "losses.gan/generator=0.1",
    "losses.rate/bits=0.01",
    "gan.start=3",
    "gan.channels=4",
    "gan.layers=2",
    "gan.lecam=0.1",
    "gan.adaptive=true",
    "optimizer.accumulate=2",
    "optimizer.schedule=cosine",
    "run.log_every=1",
]


@pytest.mark.parametrize(("extra", "killed_at"), [([], 3), (FULL, 7)], ids=["plain", "everything"])
def test_resumed_run_equals_the_unbroken_one(
    changes: list[str], extra: list[str], killed_at: int, tmp_path: Path
) -> None:
    recipe = load_recipe("product-vq", [*changes, *extra, "run.val_every=4"])
    whole = train_tokenizer(recipe, tmp_path / "whole", report=silent)
    broken = load_recipe("product-vq", [*changes, *extra, "run.val_every=4", f"run.stop_at={killed_at}"])
    train_tokenizer(broken, tmp_path / "part", report=silent)
    # State after an interruption: steps that were logged after the last checkpoint, and half a line.
    with open(tmp_path / "part" / LOG, "a") as log:
        log.write(json.dumps({"step": killed_at + 1, "rec/rmse": 1e9}) + '\n{"step": 9')
    resumed = train_tokenizer(recipe, tmp_path / "part", resume=True, report=silent)
    assert resumed.step == whole.step == 12
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    expected, found = losses(tmp_path / "whole"), losses(tmp_path / "part")
    assert found[12]["val/psnr"] == pytest.approx(expected[12]["val/psnr"], abs=1e-3)
    assert max(row.get("rec/rmse", 0) for row in found.values()) < 1e3


def test_a_killed_run_goes_on(changes: list[str], tmp_path: Path) -> None:
    arguments = [arg for change in [*changes, "optimizer.steps=100000", "run.log_every=1"] for arg in ("--set", change)]
    command = [sys.executable, "-m", "vqcodec.cli", "train", "tokenizer", "product-vq", "-o", str(tmp_path / "run")]
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / LOG
    try:
        assert process.stderr is not None
        process.stderr.readline()
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 6):
            pass
        assert process.poll() is None, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    step = int(read_checkpoint(tmp_path / "run" / CHECKPOINT)["step"])
    assert step >= 5
    recipe = load_recipe("product-vq", [*changes, f"optimizer.steps={step + 2}", "optimizer.decay=0"])
    assert train_tokenizer(recipe, tmp_path / "run", resume=True, report=silent).step == step + 2


def test_a_full_disk_leaves_the_last_checkpoint(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("product-vq", [*changes, "run.stop_at=3"])
    train_tokenizer(recipe, tmp_path / "run", report=silent)
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        train_tokenizer(load_recipe("product-vq", changes), tmp_path / "run", resume=True, report=silent)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("n", [10, 10**6])
def test_a_disk_that_fills_up_while_writing_is_an_os_error(n: int, tmp_path: Path) -> None:
    """torch alone reports it as a RuntimeError."""
    (tmp_path / "full.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(tmp_path / "full.pt", {"values": torch.zeros(n)})


def test_a_run_can_start_from_another_ones_weights(changes: list[str], tmp_path: Path) -> None:
    train_tokenizer(load_recipe("product-vq", changes), tmp_path / "first", report=silent)
    more = [*changes, f"start_from={tmp_path / 'first'}", "optimizer.steps=1", "optimizer.decay=0", "optimizer.lr=1e-9"]
    run = train_tokenizer(load_recipe("product-vq", more), tmp_path / "second", report=silent)
    averaged = read_checkpoint(tmp_path / "first" / CHECKPOINT)["ema"]
    for name, value in run.model.named_parameters():
        torch.testing.assert_close(value, averaged[name], rtol=1e-4, atol=1e-6)


def test_the_linear_path_starts_as_the_best_linear_transform(changes: list[str], tmp_path: Path) -> None:
    linear = [
        *changes,
        "tokenizer.backbone.linear_path=true",
        "tokenizer.quantizer.dims=[1,5]",
        "codebook.start=klt",
        "optimizer.steps=1",
        "optimizer.decay=0",
        "optimizer.lr=1e-9",
    ]
    model = train_tokenizer(load_recipe("product-vq", linear), tmp_path / "run", report=silent).model
    assert model.channels == 6
    encode, decode = (layer.weight.detach()[:, :, 0, 0] for layer in (model.encoder.linear, model.decoder.linear))
    torch.testing.assert_close(encode @ decode[:, :6], torch.eye(6), rtol=1e-3, atol=1e-3)


def test_a_run_is_never_overwritten_by_accident(changes: list[str], tmp_path: Path) -> None:
    recipe = load_recipe("product-vq", [*changes, "optimizer.steps=1", "optimizer.decay=0"])
    train_tokenizer(recipe, tmp_path / "run", report=silent)
    with pytest.raises(OutputError, match="--resume"):
        train_tokenizer(recipe, tmp_path / "run", report=silent)


def test_exported_model_encodes_at_once(changes: list[str], tmp_path: Path) -> None:
    recipe = load_recipe("product-vq", changes)
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
    again = export_run(tmp_path / "run", tmp_path / "again", report=silent, prior=str(tmp_path / "model"))
    assert (again.token_id, again.entropy_id) == (config.token_id, config.entropy_id)
    with pytest.raises(ModelError, match="for other tokens"):
        export_run(tmp_path / "run", tmp_path / "wrong", report=silent, prior="product-vq")
    assert not (tmp_path / "wrong").exists()


def test_learning_rate_warms_up_and_decays() -> None:
    optimizer = load_recipe(
        "product-vq", ["optimizer.steps=1000", "optimizer.decay=200", "optimizer.warmup=100"]
    ).optimizer
    assert learning_rate_at(optimizer, 0) == pytest.approx(optimizer.lr / 100)
    assert learning_rate_at(optimizer, 500) == optimizer.lr
    assert learning_rate_at(optimizer, 999) < 0.01 * optimizer.lr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.stepz=5", "unknown key 'stepz'; did you mean 'steps'"),
        ("optimizer.steps=many", "steps: int needed"),
        ("data.crop=100", "multiple"),
        ("losses.rec/mze=1.0", "unknown loss 'rec/mze'"),
        ("tokenizer.stride=8", "stride"),
        ("run.precision=fp8", "precision"),
        ("run.log_every=0", "log_every: int >= 1"),
        ("tokenizer.quantizer.groups=32", "dims: one for each of the 32"),
        ("tokenizer.quantizer.groups=0", "groups: int >= 1"),
        ("masking.prefixes=[1.0]", "one weight for each"),
        ("codebook.rate_range=[2.0, 1.0]", "the smaller one first"),
        ("nonsense", "key=value"),
    ],
)
def test_bad_recipes_end_in_one_line(change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("product-vq", [change])


def test_unknown_recipe_lists_known_ones() -> None:
    with pytest.raises(InputError, match="photo"):
        load_recipe("foto")
