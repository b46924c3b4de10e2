"""Rows of inputs of the context network: they stand for all positions, and training on them lowers bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqcodec.errors import InputError, ModelError, UsageError
from vqcodec.models.loading import read_tensors
from vqcodec.models.registry import WEIGHTS, find
from vqcodec.train.data.pictures import scan
from vqcodec.train.stepped.context import ContextNet, ContextPart
from vqcodec.train.stepped.context_rows import LEAST_BPP, NONZERO, ROWS, ContextRows, kept_share
from vqcodec.train.stepped.encoded import EncodedCrop, encoded_crops
from vqcodec.train.stepped.recipe import stepped_recipe
from vqcodec.train.stepped.rows_run import RowsRun, quiet_bits, rows_bits
from vqcodec.train.stepped.run import SteppedRun
from vqcodec.train.stepped.start import context_weights, hidden_widths
from vqcodec.train.stepped.train import train_stepped

from ..stepped import LEVELS, WIDTHS, tree


@pytest.fixture
def pictures(tmp_path: Path, photo: Image.Image) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        photo.rotate(180 * i).save(folder / f"{i}.png")
    return folder


def random_net(hidden: tuple[int, ...] = (8,) * len(WIDTHS)) -> ContextNet:
    torch.manual_seed(1)
    net = ContextNet(LEVELS, hidden)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return net


def some_crop(seed: int = 0, shape: tuple[int, int] = (9, 12)) -> EncodedCrop:
    rng = np.random.default_rng(seed)
    values = np.round(rng.laplace(0, 0.6, (sum(WIDTHS), *shape))).astype(np.int32)
    values[:, :, 6:] = 0  # positions without inputs
    values[30, 3, 10] = -2  # and one of them with a value
    return EncodedCrop(values, 20, 700, shape[0] * shape[1] * 16)


@torch.no_grad()
def test_all_rows_have_the_bits_of_all_positions() -> None:
    net, crop = random_net(), some_crop()
    values, step = torch.from_numpy(crop.values).float()[None], torch.tensor([20.0])
    bits = float(net(values, step).sum())
    rows = ContextRows(LEVELS)
    rows.add(crop, everything=True)
    rows.finish()
    weight = 1 / (crop.bits / crop.pixels + LEAST_BPP)
    total = 0.0
    for number, part in enumerate(net.parts):
        assert isinstance(part, ContextPart)
        total += float(rows_bits(net, part, rows.of(number))[0]) + float(quiet_bits(net, part, rows.quiet(number)))
    assert total == pytest.approx(weight * bits, rel=1e-4)


def test_the_kept_share_is_weighted_up() -> None:
    whole, some = ContextRows(LEVELS), ContextRows(LEVELS)
    for seed in range(8):
        crop = some_crop(seed, (18, 24))
        whole.add(crop, everything=True)
        some.add(crop)
    for rows in (whole, some):
        rows.finish()
    number = len(whole.parts) - 1
    share = kept_share(whole.parts[number][0])
    assert NONZERO * share < 1.3
    zeros, others = (
        [
            sum(int(((fields["value"] != 0) == used).sum()) for fields in rows.of(number).values())
            for rows in (some, whole)
        ]
        for used in (False, True)
    )
    assert zeros[0] == pytest.approx(share * zeros[1], rel=0.1)
    assert others[0] == pytest.approx(min(1, NONZERO * share) * others[1], rel=0.1)
    weights = [sum(float(fields["weight"].sum()) for fields in rows.of(number).values()) for rows in (some, whole)]
    assert weights[0] == pytest.approx(weights[1], rel=0.1)
    # Positions without inputs are all counted.
    quiet = [sum(float(fields["weight"].sum()) for fields in rows.quiet(number).values()) for rows in (some, whole)]
    assert quiet[0] == pytest.approx(quiet[1])


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    rows = ContextRows(LEVELS)
    rows.add(some_crop())
    rows.finish()
    rows.save(tmp_path / ROWS, "key")
    back = ContextRows(LEVELS)
    back.load(tmp_path / ROWS, "key")
    assert back.pixels == rows.pixels
    assert [path.name for path in tmp_path.iterdir()] == [ROWS]
    for number in range(len(rows.parts)):
        for mine, theirs in ((rows.of(number), back.of(number)), (rows.quiet(number), back.quiet(number))):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[k][name], theirs[k][name]) for k in mine for name in mine[k])


def test_stored_rows_of_other_settings_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    rows = ContextRows(LEVELS)
    rows.add(some_crop())
    rows.finish()
    rows.save(tmp_path / ROWS, "key")
    with pytest.raises(InputError, match=r"rows.pt: rows of other settings, pictures or weights; delete it"):
        rows.load(tmp_path / ROWS, "another")
    (tmp_path / ROWS).write_bytes((tmp_path / ROWS).read_bytes()[:1000])
    with pytest.raises(InputError, match=r"rows.pt: not a readable checkpoint"):
        rows.load(tmp_path / ROWS, "key")


def test_batches_visit_all_rows(stepped: str) -> None:
    rows = ContextRows(LEVELS)
    rows.add(some_crop(shape=(18, 24)))
    rows.finish()
    run = RowsRun(stepped_recipe(tree(encoded={"model": stepped, "rows": 200}, optimizer=frozen())), rows)
    kinds = rows.of(3)
    seen: dict[str, list[torch.Tensor]] = {kind: [] for kind in kinds}
    while any(sum(map(len, found)) < len(kinds[kind]["shape"]) for kind, found in seen.items()):
        for kind, fields in run._batch(3).items():
            seen[kind].append(fields["shape"])
        run.step += 1
    assert run.step > 1
    for kind, found in seen.items():
        n = len(kinds[kind]["shape"])
        assert torch.equal(torch.cat(found)[:n], kinds[kind]["shape"])


def test_crops_are_coded_by_the_model(stepped: str, pictures: Path) -> None:
    recipe = stepped_recipe(
        tree(encoded={"model": stepped, "side": 70, "megapixels": 0.012}, optimizer=frozen(), rate={"steps": [20, 24]})
    )
    found = scan((str(pictures),), 4)

    def crops(seed: int) -> list[EncodedCrop]:
        return list(encoded_crops(found, recipe.encoded, recipe.rate, seed, {}))

    first = crops(0)
    assert len(first) == 3  # of 4900 pixels
    assert all(crop.values.shape == (sum(WIDTHS), 18, 18) and 20 <= crop.step <= 24 for crop in first)
    assert all(np.array_equal(a.values, b.values) for a, b in zip(first, crops(0), strict=True))
    assert not np.array_equal(first[0].values, crops(1)[0].values)
    assert np.abs(first[0].values).max() > 2


def frozen(steps: int = 4) -> dict[str, object]:
    return {"steps": steps, "frozen": ["decoder"], "context_lr": 0.01, "warmup": 1, "ema": 0.5}


def test_training_lowers_bits_and_resumes(stepped: str, pictures: Path, tmp_path: Path) -> None:
    data = {"train": [str(pictures)], "val": [str(pictures)], "crop": 64, "batch": 2}
    changes = {
        "data": data,
        "encoded": {"model": stepped, "side": 128, "megapixels": 0.03, "rows": 3000},
        "start_from": stepped,
        "rate": {"steps": [18, 26]},
    }

    def trained(folder: Path, steps: int, resume: bool = False, **run: int) -> SteppedRun:
        settings = {**tree()["run"], "log_every": 1, **run}
        recipe = stepped_recipe(tree(**changes, optimizer=frozen(steps), run=settings))
        return train_stepped(recipe, folder, resume, "cpu", lambda _: None, False)

    run = trained(tmp_path / "whole", 12)
    assert isinstance(run, RowsRun)
    before = SteppedRun(run.recipe)
    before.start_from(stepped)

    @torch.no_grad()
    def bits(net: ContextNet) -> float:
        parts = [part for part in net.parts if isinstance(part, ContextPart)]
        return sum(float(rows_bits(net, part, run.rows.of(i))[0]) for i, part in enumerate(parts))

    assert bits(run.averaged().context) < 0.97 * bits(before.model.context)
    decoder = run.model.tokenizer.decoder.state_dict()
    assert all(torch.equal(v, decoder[n]) for n, v in before.model.tokenizer.decoder.state_dict().items())
    trained(tmp_path / "parts", 12, stop_at=5)
    with pytest.raises(InputError, match="of other settings"):
        trained(tmp_path / "parts", 12, resume=True, seed=3)
    again = trained(tmp_path / "parts", 12, resume=True)
    assert again.pixels == run.pixels > 0
    assert all(torch.equal(value, again.average.values[name]) for name, value in run.average.values.items())


@torch.no_grad()
def test_a_wider_network_starts_with_the_outputs_of_the_model(stepped: str) -> None:
    entry = find(stepped)
    tensors = read_tensors(entry.folder / WEIGHTS, entry.config.weights_sha256)
    widths = hidden_widths(tensors, LEVELS)
    assert widths == [32] * len(WIDTHS)
    nets = [ContextNet(LEVELS, hidden) for hidden in (widths, [40, 33, 32, 64, 32])]
    for net in nets:
        net.load_state_dict(context_weights(tensors, net))
    crop = some_crop()
    values, step = torch.from_numpy(crop.values).float()[None], torch.tensor([20.0])
    found = [net(values, step) for net in nets]
    assert torch.allclose(found[0], found[1], atol=1e-3)
    narrow = ContextNet(LEVELS, [32] * 4 + [16])
    narrow.load_state_dict(context_weights(tensors, narrow))
    assert torch.allclose(found[0][:, : -WIDTHS[-1]], narrow(values, step)[:, : -WIDTHS[-1]], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": {"hidden": [32, 32]}}, "recipe.context.hidden: 5 values needed, one for each layer, not 2"),
        ({"encoded": {"model": "stepped"}}, 'recipe.encoded.model: .* set optimizer.frozen to \\["decoder"\\]'),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stepped_recipe(tree(**changes))


def test_a_model_of_another_quantizer_is_refused(pictures: Path, tmp_path: Path, tiny_model: str) -> None:
    data = {"train": [str(pictures)], "val": [str(pictures)], "crop": 64, "batch": 2}
    recipe = stepped_recipe(tree(data=data, encoded={"model": tiny_model}, optimizer=frozen()))
    with pytest.raises(UsageError, match=r"recipe.encoded.model: '.*' has another quantizer than the recipe"):
        train_stepped(recipe, tmp_path / "run", False, "cpu", lambda _: None, False)


def test_a_missing_model_is_named(pictures: Path, tmp_path: Path) -> None:
    data = {"train": [str(pictures)], "val": [str(pictures)], "crop": 64, "batch": 2}
    recipe = stepped_recipe(tree(data=data, encoded={"model": "nowhere"}, optimizer=frozen()))
    with pytest.raises(ModelError, match="model 'nowhere': not found"):
        train_stepped(recipe, tmp_path / "run", False, "cpu", lambda _: None, False)
