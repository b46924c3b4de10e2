"""Training of context models: float and integer twins agree, interrupted runs resume, and model files are checked."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image

from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.index_order import scan
from vqcodec.entropy.tile_segments import decode_tiles, encode_tiles
from vqcodec.errors import InputError, ModelError, UsageError
from vqcodec.models import loading, registry
from vqcodec.train.checkpoint import write_checkpoint
from vqcodec.train.prior.changed_colours import changed_colours
from vqcodec.train.prior.data import PriorCrops
from vqcodec.train.prior.report import compare, integer_bits, measure
from vqcodec.train.prior.train_prior import (
    Prior,
    PriorRecipe,
    add_prior,
    bits_per_index,
    drawn_weights,
    run_prior,
    train_prior,
)

SIZES = (16, 8, 16, 8)
LAYERS = [[s] for s in range(4)]
RECIPE = PriorRecipe(model="", train=(), steps=20, batch=2, crop=8, units=16, checkpoint_every=15)


def silent(_: str) -> None:
    """No report."""


def some_tiles(shapes: list[tuple[tuple[int, ...], ...]], seed: int = 0) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(0, size, shape).astype(np.uint16) for size, shape in zip(SIZES, tile, strict=True)]
        for tile in shapes
    ]


def sharp(near: int | None = None, grids: int = 1) -> Prior:
    torch.manual_seed(0)
    prior = Prior(SIZES, 16, near, grids=grids, own_by_grid=(0, 2) if grids > 1 else ())
    with torch.no_grad():
        for net in prior.planes:
            net.out.mul_(20 if grids == 1 else 8)  # few frequencies at the floor of the table
            net.bias1.normal_()
            if net.own.dim() == 3:
                net.own.normal_(std=0.07)
            net.bias3.normal_()
            net.quantized = True
    return prior


LAYOUTS = {
    "grid": (((9, 14),) * 4,),
    "one row": (((1, 11),) * 4, ((7, 1),) * 4),
    "growing": (((1, 1), (2, 3), (5, 6), (10, 12)),),
    "growing, then equal": (((4, 4), (8, 8), (8, 8), (8, 8)),),
    "sequence": (((40,),) * 4, ((7,),) * 4),
}


@pytest.mark.parametrize(("near", "grids"), [(None, 1), (0, 1), (1, 1), (2, 1), (None, 2), (1, 4)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_network_and_its_integers_agree_on_every_layout(layout: str, near: int | None, grids: int) -> None:
    tiles = some_tiles([shapes for shapes in LAYOUTS[layout] for _ in range(3)])
    prior = sharp(near, grids)
    model = ContextModel(SIZES, prior.tensors())
    counts = np.array([sum(tile[s].size for tile in tiles) for s in range(4)])
    planes = [[plane.astype(np.int32) for plane in tile] for tile in tiles]
    np.testing.assert_allclose(integer_bits(model, planes) / counts, bits_per_index(prior, tiles), rtol=0.01, atol=0.01)
    segments = encode_tiles(model, planes, LAYERS)
    shapes = [tuple(plane.shape for plane in tile) for tile in tiles]
    for found, tile in zip(decode_tiles(model, segments, shapes, LAYERS), planes, strict=True):
        for plane, right in zip(found, tile, strict=True):
            np.testing.assert_array_equal(plane, right)


@pytest.mark.parametrize(("grids", "y", "x"), [(1, 6, 4), (2, 4, 8), (3, 8, 8)])
def test_a_crop_sees_what_the_whole_tile_sees(grids: int, y: int, x: int) -> None:
    """Bits of the inner part of a tile are the same from a crop of it as from the whole, at corners of cells."""
    prior, side = sharp(grids=grids), 8
    [tile] = some_tiles([((20, 24),) * 4])
    whole = [torch.from_numpy(plane)[None] for plane in prior.padded(tile)]
    around = side + 2 * prior.margin
    crop = [plane[:, y : y + around, x : x + around] for plane in whole]
    with torch.no_grad():
        for s, (of_whole, of_crop) in enumerate(zip(prior(whole), prior(crop), strict=True)):
            grid, part = np.empty((20, 24)), np.empty((side, side))
            for target, bits in ((grid, of_whole), (part, of_crop)):
                target.reshape(-1)[scan(target.shape, grids)] = bits
            np.testing.assert_allclose(part, grid[y : y + side, x : x + side], atol=1e-4, err_msg=f"plane {s}")


@pytest.mark.parametrize("grids", [1, 2, 3])
def test_crops_are_parts_of_tiles_and_reach_their_last_positions(grids: int) -> None:
    tiles = some_tiles([((13, 9),) * 4, ((4, 21),) * 4])
    prior = Prior(SIZES, 4, grids=grids)
    m = prior.margin
    crops = PriorCrops([prior.padded(tile) for tile in tiles], SIZES, batch=3, side=8, seed=5, grids=grids)
    reached = 0
    for number in range(60):
        planes = [plane.numpy() for plane in crops.batch(number)]
        assert {plane.shape for plane in planes} == {(3, 8 + 2 * m, 8 + 2 * m)}
        outside = [plane > size for plane, size in zip(planes, SIZES, strict=True)]
        assert all((mask == outside[0]).all() for mask in outside)
        reached += int((planes[0][:, m:-m, m:-m] <= SIZES[0]).sum())
        np.testing.assert_array_equal(planes[1], crops.batch(number)[1].numpy())
    assert reached > 60 * 3 * 64 * 0.4
    seen = np.concatenate([crops.batch(number)[0].numpy().ravel() for number in range(60)])
    assert set(seen) >= set(tiles[0][0].ravel().tolist())


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = some_tiles([((12, 12),) * 4] * 4)
    state = tmp_path / "state.pt"

    class KilledError(Exception):
        pass

    def write_and_die(path: Path, values: dict[str, object]) -> None:
        write_checkpoint(path, values)
        raise KilledError

    monkeypatch.setattr("vqcodec.train.prior.loop.write_checkpoint", write_and_die)
    with pytest.raises(KilledError):
        train_prior(tiles, SIZES, RECIPE, silent, state)
    monkeypatch.undo()
    resumed = train_prior(tiles, SIZES, RECIPE, silent, state, resume=True).tensors()
    expected = train_prior(tiles, SIZES, RECIPE, silent).tensors()
    for name, value in expected.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    with pytest.raises(InputError, match="another recipe"):
        train_prior(tiles, SIZES, structs.replace(RECIPE, lr=1.0), silent, state, resume=True)


def test_training_may_be_bounded_by_time() -> None:
    tiles = some_tiles([((8, 8),) * 4])
    prior = train_prior(tiles, SIZES, structs.replace(RECIPE, steps=10**9, minutes=1e-9), silent)
    assert all(net.quantized for net in prior.planes)


def test_training_starts_from_how_often_codes_are_used() -> None:
    prior = Prior((8,), 4)
    prior.start_from([np.arange(8)])
    bias = prior.planes[0].bias3.detach()
    assert (bias[:, 7] == 0).all()
    np.testing.assert_allclose(bias[:, 0], np.log2(0.5 / 7.5), rtol=1e-5)


def test_the_report_compares_with_tables() -> None:
    rng = np.random.default_rng(0)
    tiles = [np.repeat(rng.integers(0, 8, (1, 12, 12)), 4, 0).astype(np.uint16) for _ in range(8)]
    prior = train_prior(tiles, SIZES, structs.replace(RECIPE, steps=70, lr=2e-2), silent)
    rows = measure(prior, tiles, tiles[:2])
    np.testing.assert_array_equal(rows["uniform"], [4, 3, 4, 3])
    assert rows["zero-order"][0] == pytest.approx(3, abs=0.1)
    assert rows["integer"][3] < 1 < rows["adaptive"][3]
    np.testing.assert_allclose(rows["integer"], rows["rounded"], atol=0.05)
    np.testing.assert_allclose(rows["integer"], rows["float"], atol=0.1)
    assert (rows["float"] != rows["rounded"]).any()
    assert all(net.quantized for net in prior.planes)
    text = compare(prior, tiles, tiles[:2])
    assert "zero-order" in text
    assert "rounding to integers" in text
    assert len(text.splitlines()) == 2 + 4 + 3


def test_planes_that_files_leave_out_are_not_learnt_from() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 8, (4, 12, 12)).astype(np.uint16)
    tiles = [whole, *(rng.integers(0, 8, (2, 12, 12)).astype(np.uint16) for _ in range(5))]
    prior = Prior(SIZES, 8)
    bits = prior([torch.from_numpy(plane)[None] for plane in prior.padded(tiles[1])])
    assert [bool(b.any()) for b in bits] == [True, True, False, False]
    rows = measure(prior, tiles, tiles)
    only = measure(prior, [whole], [whole])
    for name in ("zero-order", "adaptive", "float", "integer"):
        np.testing.assert_allclose(rows[name][2:], only[name][2:], rtol=1e-6)
        assert (rows[name][:2] != only[name][:2]).all()
    assert rows["stream"][0] == pytest.approx(rows["integer"].mean(), rel=0.1)


@pytest.fixture
def with_prior(tiny_model: str, tmp_path: Path) -> Path:
    """A copy of the tiny model with a context model."""
    folder = Path(shutil.copytree(registry.find(tiny_model).folder, tmp_path / "with-prior"))
    add_prior(folder, Prior((16,) * 4, 16))
    return folder


def tampered(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Other tensors, with a digest that agrees."""
    from safetensors.numpy import load_file, save_file

    path = folder / registry.WEIGHTS
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    config = json.loads((folder / registry.CONFIG).read_text())
    config["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / registry.CONFIG).write_text(json.dumps(config))


def set_to(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda tensors: tensors.update({f"prior.{name}": value(tensors[f"prior.{name}"])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("1.bias2", lambda v: v + 2**24), "beyond the exact"),
        (set_to("1.out", lambda v: v[:-1].copy()), "shape"),
        (set_to("0.own", lambda v: np.full(v.shape, np.nan, np.float32)), "integers"),
        (set_to("0.shift1", lambda v: v + 99), "shift"),
        (set_to("lut", lambda v: v * 2), "entries must be"),
        (set_to("0.hidden", lambda v: v ^ 1), "check|identity"),
        (set_to("check", lambda v: v ^ 1), "frequencies on this machine differ"),
        (lambda tensors: tensors.pop("prior.3.embedding"), "missing"),
        (lambda tensors: tensors.update({"prior.near": np.array([1], np.int32)}), "shape"),
        (lambda tensors: tensors.pop("prior.check"), None),
    ],
)
def test_a_damaged_prior_is_refused_with_exit_code_5(
    with_prior: Path,
    tmp_path: Path,
    invoke: Callable[..., tuple[int, str, str]],
    change: Callable[[dict[str, np.ndarray]], object],
    message: str | None,
) -> None:
    tampered(with_prior, change)
    if message is None:  # older models have none
        assert isinstance(loading.load_model(str(with_prior)).entropy, ContextModel)
        return
    with pytest.raises(ModelError, match=message):
        loading.load_model(str(with_prior))
    Image.new("RGB", (32, 32)).save(tmp_path / "in.png")
    code, _, error = invoke("encode", tmp_path / "in.png", "-m", with_prior, "-o", tmp_path / "out.vqc")
    assert code == 5
    assert len(error.strip().splitlines()) == 1


def test_a_wrong_digest_is_refused(with_prior: Path) -> None:
    path = with_prior / registry.WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        loading.load_model(str(with_prior))


def test_a_recipe_makes_a_model(tiny_model: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (160, 128, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    where = (str(tmp_path / "pictures"),)
    recipe = structs.replace(RECIPE, model=tiny_model, train=where, val=where, near=2)
    said: list[str] = []
    with pytest.raises(InputError, match="no checkpoint"):
        run_prior(recipe, tmp_path / "made", resume=True, report=said.append)
    run_prior(recipe, tmp_path / "made", report=said.append)
    assert "zero-order" in said[-2]
    made, base = loading.load_model(str(tmp_path / "made")), loading.load_model(tiny_model)
    assert isinstance(made.entropy, ContextModel)
    assert made.entropy.near == 2
    assert made.config.token_id == base.config.token_id
    assert made.config.entropy_id != base.config.entropy_id
    assert [p.name for p in tmp_path.iterdir() if "checkpoint" in p.name] == []


def test_planes_left_out_of_a_step_have_more_weight_in_others() -> None:
    recipe = PriorRecipe(model="", train=(), steps=1, always=(0, 2), share=0.25)
    weights = np.stack([drawn_weights(recipe, step, 6) for step in range(4000)])
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.1)
    assert set(weights[:, [0, 2]].ravel()) == {1.0}
    assert set(weights[:, 1]) == {0.0, 4.0}
    prior = sharp()
    [tile] = some_tiles([((8, 8),) * 4])
    codes = [torch.from_numpy(plane)[None] for plane in prior.padded(tile)]
    whole, part = prior(codes), prior(codes, [True, False, False, True])
    assert [len(bits) for bits in part] == [64, 0, 0, 64]
    torch.testing.assert_close(part[3], whole[3])


def test_copies_with_changed_colours_are_pictures() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    copies = [changed_colours(pixels, np.random.default_rng(n)) for n in range(40)]
    assert {copy.shape for copy in copies} == {(12, 20, 3), (20, 12, 3)}
    assert all(copy.dtype == np.uint8 and copy.flags.c_contiguous for copy in copies)
    means = [copy.mean() for copy in copies]
    assert min(means) < 90 < 160 < max(means)
    np.testing.assert_array_equal(copies[0], changed_colours(pixels, np.random.default_rng(0)))


def test_steps_may_leave_all_planes_out() -> None:
    tiles = some_tiles([((12, 12),) * 4] * 3)
    recipe = PriorRecipe(
        model="", train=(), steps=12, batch=2, crop=8, units=16, share=0.1, grids=2, own_by_grid=(0, 3)
    )
    assert not np.stack([drawn_weights(recipe, step, 4) for step in range(12)]).any(1).all()
    prior = train_prior(tiles, SIZES, recipe, silent)
    assert prior.grids == 2
    assert [net.own.dim() for net in prior.nets()] == [3, 2, 2, 3]
    assert len(ContextModel(SIZES, prior.tensors()).nets[3].own) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"always": (99,)}, r"recipe\.always: plane 99; model '.*' has planes 0\.\."),
        ({"grids": 2, "own_by_grid": (0, 99)}, r"recipe\.own_by_grid: plane 99"),
        ({"own_by_grid": (0,)}, r"recipe\.own_by_grid: needs recipe\.grids above 1"),
    ],
)
def test_planes_that_there_are_not_are_refused_first(
    tiny_model: str, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    recipe = PriorRecipe(model=tiny_model, train=("no such folder",), steps=1, **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        run_prior(recipe, tmp_path / "out", report=silent)


def test_a_context_model_of_more_grids_is_no_start(tmp_path: Path, tiny_model: str) -> None:
    sizes = loading.load_model(tiny_model).entropy.sizes
    folder = tmp_path / "grids"
    shutil.copytree(registry.find(tiny_model).folder, folder)
    add_prior(folder, Prior(sizes, 16, grids=2, own_by_grid=(1,)))
    usual = {"model": str(folder), "train": ("no such folder",), "steps": 1, "again": True, "units": 16}
    for changes, message in (
        ({}, r"recipe\.grids: 1; the context model of .* has 2"),
        ({"grids": 2}, r"recipe\.own_by_grid: without plane 1"),
        ({"grids": 2, "own_by_grid": (1,)}, "no such folder"),
    ):
        with pytest.raises((UsageError, InputError), match=message):
            run_prior(PriorRecipe(**usual | changes), tmp_path / "out", report=silent)  # type: ignore[arg-type]
