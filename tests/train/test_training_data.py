"""Sources of crops: the index next to the data, shares between sources, crops of resized pictures."""

from __future__ import annotations

import json
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

from vqcodec.errors import InputError, UsageError
from vqcodec.train.data import picture_index
from vqcodec.train.data.crops import Crops
from vqcodec.train.data.cuts import resized_cut, resized_picture
from vqcodec.train.data.gpu_crops import ResidentCrops
from vqcodec.train.data.order import Order
from vqcodec.train.data.picture_index import INDEX
from vqcodec.train.data.pictures import Member, scan
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import DataRecipe


def data(**settings: object) -> DataRecipe:
    return DataRecipe((), (), 64, 4, **settings)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures and one that is none."""
    where = tmp_path / "pictures"
    (where / "sub").mkdir(parents=True)
    for i in range(5):
        Image.new("RGB", (90 + i, 70), (i * 50, 0, 0)).save(where / "sub" / f"{i}.png")
    (where / "bad.png").write_bytes(b"nothing")
    return where


@pytest.fixture
def shard(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "train.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.rglob("*.png")):
            tar.add(file, arcname=file.name)
    return path


def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that Pillow requested, picture by picture."""
    read: list[int] = []
    whole = picture_index.Part

    class Counted(whole):  # type: ignore[misc, valid-type]
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            read.append(0)

        def read(self, count: int | None = -1) -> bytes:
            found = super().read(count)
            read[-1] += len(found)
            return found

    monkeypatch.setattr(picture_index, "Part", Counted)
    return read


@pytest.mark.parametrize("kind", ["folder", "shard"])
def test_headers_alone_are_read_and_once(kind: str, folder: Path, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder if kind == "folder" else shard
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8))
    large.save(folder / "large.png")
    if kind == "shard":
        with tarfile.open(shard, "a") as tar:
            tar.add(folder / "large.png", arcname="large.png")
    read = opened(monkeypatch)
    first = scan((str(source),), 64)
    assert len(read) == 7
    assert max(read) < (folder / "large.png").stat().st_size / 50
    second = scan((str(source),), 64)
    assert len(read) == 7, "the second run reads no header"
    assert second == first
    assert len(first.members) == 6
    assert first.skipped == ["bad.png: not a picture"]
    for member in first.members:
        assert member.decode().shape == (member.height, member.width, 3)
    scan((str(source),), 64, index=False)
    assert len(read) == 14


def test_the_index_follows_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan((str(folder),), 64)
    (folder / "sub" / "0.png").unlink()
    Image.new("RGB", (200, 200)).save(folder / "new.png")
    Image.new("RGB", (300, 100)).save(folder / "sub" / "1.png")
    read = opened(monkeypatch)
    sizes = {m.name: (m.width, m.height) for m in scan((str(folder),), 64).members}
    assert len(read) == 2
    assert sizes["new.png"] == (200, 200)
    assert sizes[os.path.join("sub", "1.png")] == (300, 100)
    assert os.path.join("sub", "0.png") not in sizes


def test_a_shard_that_changed_is_listed_anew(shard: Path, folder: Path) -> None:
    before = scan((str(shard),), 64)
    with tarfile.open(shard, "w") as tar:
        tar.add(folder / "sub" / "3.png", arcname="other.png")
    os.utime(shard, ns=(1, 1))
    assert [m.name for m in scan((str(shard),), 64).members] == ["other.png"]
    assert len(before.members) == 5


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": 2, "pictures": []}', '{"version": 1, "pictures": [["a.png", 0, -5, 0, 9, 9, ""]]}']
)
def test_a_damaged_index_is_made_anew(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    assert len(scan((str(folder),), 64).members) == 5
    assert len(json.loads((folder / INDEX).read_text())["pictures"]) == 6


def test_an_index_matched_by_a_pattern_is_no_data(shard: Path) -> None:
    pattern = f"{shard.parent}/train*"
    first = scan((pattern,), 64)
    assert Path(f"{shard}{INDEX}").is_file()
    assert scan((pattern,), 64) == first


def test_a_place_that_cannot_be_written_has_no_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(picture_index.tempfile, "NamedTemporaryFile", refuse)
    assert len(scan((str(folder),), 64).members) == 5
    assert not (folder / INDEX).exists()


def members(counts: tuple[int, ...]) -> list[Member]:
    return [Member(Path("x"), 0, 1, f"{s}/{i}", 64, 64, s) for s, n in enumerate(counts) for i in range(n)]


def test_sources_have_their_shares_and_epochs_of_their_own() -> None:
    found = members((30, 3, 7))
    order = Order(found, 0.0, 5, (0.5, 0.4, 0.1))
    drawn = [order.at(p) for p in range(order.length * 6)]
    assert drawn == [Order(found, 0.0, 5, (0.5, 0.4, 0.1)).at(p) for p in range(order.length * 6)]
    sources = np.array([found[i].source for i in drawn]).reshape(6, order.length)
    for stretch in sources:
        assert np.bincount(stretch, minlength=3).tolist() == [20, 16, 4]
    for source, count in ((0, 30), (1, 3), (2, 7)):
        own = [i for i in drawn if found[i].source == source]
        for start in range(0, len(own) - count + 1, count):
            assert len(set(own[start : start + count])) == count, "each picture once before any comes again"
    assert [Order(found, 0.0, 6, (0.5, 0.4, 0.1)).at(p) for p in range(40)] != drawn[:40]
    assert {found[Order(found, 0.0, 5, (1.0, 0.0, 0.0)).at(p)].source for p in range(60)} == {0}


def test_shares_reach_the_crops(tmp_path: Path) -> None:
    for source, count in (("a", 1), ("b", 9)):
        (tmp_path / source).mkdir()
        for i in range(count):
            Image.new("RGB", (64, 64), (255 if source == "a" else 0, i, 0)).save(tmp_path / source / f"{i}.png")
    pictures = scan((str(tmp_path / "a"), str(tmp_path / "b")), 64)
    for kind in (Crops, ResidentCrops):
        even = kind(pictures, data(shares=(1.0, 1.0)), 0)
        red = sum(int((even.batch(n)[:, 0, 0, 0] == 255).sum()) for n in range(5))
        assert red == 10, kind
        plain = kind(pictures, data(), 0)
        assert sum(int((plain.batch(n)[:, 0, 0, 0] == 255).sum()) for n in range(5)) == 2, kind


def test_a_source_with_a_share_needs_pictures() -> None:
    with pytest.raises(InputError, match="source 1"):
        Order(members((3,)), 0.0, 0, (0.5, 0.5))


def test_llamagen_crops_have_short_sides_in_their_range_and_enlarge_small_pictures(tmp_path: Path) -> None:
    """A picture of two different halves: the position of their border gives its scale."""
    settings = structs.replace(data(short_side=(1.0, 1.25)), crop=64)
    gradient = np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[:, None], 30, 1)[..., None].repeat(3, 2)
    seen = set()
    for seed in range(60):
        crop = resized_cut(gradient, random.Random(seed), settings)
        assert crop.shape == (64, 64, 3)
        rows = crop[:, 0, 0].astype(float)
        slope = (rows[-8] - rows[8]) / 47  # levels a pixel: 255 / 39 at the picture's own scale
        seen.add(round(255 / 39 / slope * 30))  # the short side
    assert min(seen) in range(62, 66)
    assert max(seen) in range(77, 83)
    Image.fromarray(gradient).save(tmp_path / "small.png")
    for kind in (Crops, ResidentCrops):
        assert kind(scan((str(tmp_path),), 1), settings, 0).batch(0).shape == (4, 3, 64, 64)
    with pytest.raises(InputError, match="no picture"):
        scan((str(tmp_path),), 64)


def test_resizing_keeps_the_shape_and_reaches_the_side() -> None:
    pixels = np.zeros((150, 417, 3), np.uint8)
    assert resized_picture(pixels, 64).shape == (64, 177, 3)
    assert resized_picture(pixels, 150).shape == pixels.shape
    assert resized_picture(pixels[:20, :11], 64).shape == (116, 64, 3)


def test_flips_are_as_likely_as_not() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    crops = [resized_cut(pixels, random.Random(seed), data(short_side=(1.0, 1.0))) for seed in range(200)]
    assert 70 < sum(int(crop[0, 0, 0] == 255) for crop in crops) < 130


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.short_side=[1.0]", "data.short_side"),
        ("data.short_side=[0.5, 1.0]", "data.short_side"),
        ("data.shares=[1.0, 2.0]", "data.shares: one weight for each of the 1"),
        ("data.shares=[0.0]", "data.shares"),
        ("masking.losses=some", "masking.losses"),
        ("run.best=fid", "run.best"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("tiny", [change])


@pytest.mark.parametrize("name", ["mgvq-f8-g8", "xqgan-msbr10p2-4096", "fqgan-triple-16", "softvq-b-64"])
def test_published_recipes_cut_as_llamagen_does(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.data.crop, recipe.data.short_side) == (256, (1.0, 1.25))
