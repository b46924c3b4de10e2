"""Crops cut where the pictures lie decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqcodec.errors import InputError
from vqcodec.train.data.gpu_crops import SIZES, ResidentCrops
from vqcodec.train.data.pictures import scan
from vqcodec.train.recipe.schema import DataRecipe

CROP = 16


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures with pixels (row, column, number of the picture)."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, (height, width) in enumerate([(40, 56), (16, 16), (90, 33), (17, 60), (64, 64)]):
        pixels = np.empty((height, width, 3), np.uint8)
        pixels[..., 0], pixels[..., 1], pixels[..., 2] = np.arange(height)[:, None], np.arange(width), 40 * i
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def crops_of(folder: Path, batch: int = 8, process: int = 0, processes: int = 1, **settings: float) -> ResidentCrops:
    data = DataRecipe(train=(), val=(), crop=CROP, batch=batch, **settings)  # type: ignore[arg-type]
    return ResidentCrops(scan((str(folder),), CROP), data, 3, process, processes)


def test_crops_are_parts_of_their_pictures(pictures: Path) -> None:
    crops = crops_of(pictures, min_scale=1.0)
    flips = 0
    for number in range(20):
        batch = crops.batch(number)
        assert batch.shape == (8, 3, CROP, CROP)
        assert batch.dtype == torch.uint8
        rows, columns, which = batch.long().unbind(1)
        assert (rows.diff(dim=1) == 1).all()
        assert (rows.diff(dim=2) == 0).all()
        steps = columns.diff(dim=2)
        assert (steps.abs() == 1).all()
        assert (steps == steps[:, :1, :1]).all()
        assert (which == which[:, :1, :1]).all()
        flips += int((steps[:, 0, 0] < 0).sum())
    assert 50 < flips < 110


def test_large_pictures_come_smaller_too(pictures: Path) -> None:
    crops = crops_of(pictures, batch=64)
    assert crops.available.tolist() == [SIZES + 1, 1, SIZES + 1, 1, SIZES + 1]
    steps = []
    for number in range(10):
        rows, _, which = crops.batch(number).double().unbind(1)
        slope = (rows[:, -1, 8] - rows[:, 0, 8]) / (CROP - 1)
        steps += [(int(w), float(s)) for w, s in zip(which[:, 8, 8] / 40, slope, strict=True)]
    small = [s for w, s in steps if w in (1, 3)]
    large = [s for w, s in steps if w in (0, 2, 4)]
    assert max(small) < 1.01
    assert min(large) > 0.95
    assert max(large) > 1.8
    shrunk = sum(s > 1.05 for s in large) / len(large)
    assert 0.35 < shrunk < 0.65


def test_a_batch_depends_on_its_number_alone(pictures: Path) -> None:
    one, other = crops_of(pictures), crops_of(pictures)
    assert torch.equal(one.batch(5), other.batch(5))
    assert not torch.equal(one.batch(5), one.batch(6))


def test_processes_share_a_batch(pictures: Path) -> None:
    whole = crops_of(pictures, batch=8).batch(4)
    parts = [crops_of(pictures, batch=4, process=p, processes=2).batch(4) for p in range(2)]
    assert torch.equal(torch.cat(parts), whole)


def test_an_epoch_holds_every_picture(pictures: Path) -> None:
    crops = crops_of(pictures, batch=1)
    epoch = [int(crops.batch(n)[0, 2, 8, 8]) // 40 for n in range(crops.order.length)]
    assert set(epoch) == {0, 1, 2, 3, 4}


def test_damaged_pictures_are_named_and_left_out(pictures: Path, tmp_path: Path) -> None:
    for name in ("0.png", "4.png"):
        (tmp_path / name).write_bytes((pictures / name).read_bytes())
    data = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(data[: len(data) // 2])
    crops = crops_of(tmp_path, min_scale=1.0)
    assert list(crops.damaged) == ["0.png"]
    assert set((crops.batch(0)[:, 2] // 40).unique().tolist()) == {4}
    (tmp_path / "4.png").unlink()
    with pytest.raises(InputError, match="no picture could be decoded"):
        crops_of(tmp_path)
