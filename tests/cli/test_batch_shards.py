"""`vqcodec batch --shards`: tar shards of WebDataset in, tar shards out."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import vqcodec
from vqcodec.cli.batch.parts import PARTS
from vqcodec.cli.batch.shards import ShardWork
from vqcodec.data.packed import PackedShard

from ..commands import Invoke, fails
from ..trees import Run, lines, tree


def picture(format: str, colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(out, format)
    return out.getvalue()


MEMBERS = {
    "0000.jpg": picture("JPEG"),
    "0000.cls": b"7",
    "0000.json": b'{"caption": "teal"}',
    "b/0001.png": picture("PNG", "red"),
    "b/0001.txt": b"red",
    "0002.jpg": b"no picture",
    "0002.cls": b"8",
    "0003.jpg": picture("JPEG", "blue"),
    "0003.png": picture("PNG", "blue"),
    "0004.mask.PNG": picture("PNG", "white"),
    "n" * 150 + ".png": picture("PNG", "black"),
    "notes.txt": b"a sample without a picture",
}


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("folder/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_600_000_000, 0o640
            tar.addfile(info, io.BytesIO(data))


def read_shard(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}


@pytest.fixture
def shards(src: Path) -> Path:
    write_shard(src / "a" / "train-0.tar", MEMBERS)
    return src


def test_shards_keep_names_order_and_labels(run_batch: Run, shards: Path, dst: Path, tiny_model: str) -> None:
    code, stdout, _ = run_batch("--shards", "--json")
    summary = json.loads(stdout)
    assert code == 10
    assert [one["source"] for one in summary["failures"]] == ["a/train-0.tar/0002.jpg"]
    assert sorted(tree(dst)) == ["a/b/three.vqc", "a/train-0.tar", "a/two.vqc", "one.vqc"]
    made = read_shard(dst / "a" / "train-0.tar")
    assert list(made) == [
        *("0000.vqc", "0000.cls", "0000.json", "b/0001.vqc", "b/0001.txt", "0003.jpg.vqc", "0003.png.vqc"),
        *("0004.mask.vqc", "n" * 150 + ".vqc", "notes.txt"),
    ]
    assert made["0000.json"] == MEMBERS["0000.json"]
    with Image.open(io.BytesIO(MEMBERS["0000.jpg"])) as image:
        assert made["0000.vqc"] == vqcodec.encode(image, tiny_model)
    with tarfile.open(dst / "a" / "train-0.tar") as tar:
        info = tar.getmember("0000.vqc")
        assert (info.mtime, info.mode) == (1_600_000_000, 0o640)
    [line] = [line for line in lines(dst) if line["target"] == "a/train-0.tar"]
    assert (line["pictures"], line["status"]) == (6, "done")
    assert line["failures"] == [{"member": "0002.jpg", "error": "not an image, or of an unknown format; convert it to "
                                 "PNG or TIFF first", "exit_code": 3}]  # fmt: skip
    assert json.loads(run_batch("--shards", "--json")[1])["skipped"] == 4
    assert run_batch("--shards", "--verify")[0] == 0


def test_shards_back_to_pictures(run_batch: Run, invoke: Invoke, shards: Path, dst: Path, tmp_path: Path) -> None:
    run_batch("--shards")
    assert invoke("batch", dst, tmp_path / "back", "--to", "png", "--shards")[0] == 0
    made = read_shard(tmp_path / "back" / "a" / "train-0.tar")
    assert list(made)[:4] == ["0000.png", "0000.cls", "0000.json", "b/0001.png"]
    assert Image.open(io.BytesIO(made["b/0001.png"])).size == (24, 16)


def test_without_the_option_shards_are_ignored(run_batch: Run, shards: Path, dst: Path) -> None:
    assert json.loads(run_batch("--json")[1])["ignored_kinds"][".tar"] == 1
    assert "a/train-0.tar" not in tree(dst)


@pytest.mark.parametrize("to", ["vqc", "png"])
def test_a_folder_of_shards_without_the_option_names_it(
    invoke: Invoke, tiny_model: str, tmp_path: Path, dst: Path, to: str
) -> None:
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "0.tar", MEMBERS)
    code, _, err = invoke("batch", tmp_path / "shards", dst, "--to", to, *(["-m", tiny_model] * (to == "vqc")))
    assert code == 0
    assert "to convert the pictures in them add --shards" in err


def test_a_folder_packed_by_tar_and_unpacked_again(invoke: Invoke, tiny_model: str, src: Path, tmp_path: Path) -> None:
    """Members as GNU tar names them: folders first, "./" in front. The trees are those of single files."""
    (src / "one.cls").write_text("7")
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "0000.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(src, ".")
    assert invoke("batch", tmp_path / "packed", tmp_path / "coded", "-m", tiny_model, "--shards")[0] == 0
    assert invoke("batch", tmp_path / "coded", tmp_path / "back", "--to", "png", "--shards")[0] == 0
    assert invoke("batch", src, tmp_path / "single", "-m", tiny_model)[0] == 0
    assert invoke("batch", tmp_path / "single", tmp_path / "pictures", "--to", "png")[0] == 0
    others = {"one.cls": b"7", "note.txt": b"not a picture"}
    for shards, folder in (("coded", "single"), ("back", "pictures")):
        members = read_shard(tmp_path / shards / "0000.tar")
        assert {name.removeprefix("./"): data for name, data in members.items()} == tree(tmp_path / folder) | others


def test_bad_shards(run_batch: Run, invoke: Invoke, src: Path, dst: Path) -> None:
    write_shard(src / "cut.tar", MEMBERS)
    (src / "cut.tar").write_bytes((src / "cut.tar").read_bytes()[:4000])
    (src / "odd.tar").write_bytes(b"not a tar file" * 100)
    write_shard(src / "text.tar", {"a.txt": b"text"})
    code, stdout, _ = run_batch("--shards", "--json")
    assert code == 10
    found = {one["source"]: (one["error"], one["exit_code"]) for one in json.loads(stdout)["failures"]}
    assert {name: number for name, (_, number) in found.items()} == {"cut.tar": 3, "odd.tar": 3, "text.tar": 3}
    assert "holds no picture" in found["text.tar"][0]
    assert not [name for name in tree(dst) if ".tar" in name or PARTS in name]
    fails(invoke("batch", src, src, "--shards"), 2, "--shards: DST must be another folder")


def run_and_die(run_batch: Run, monkeypatch: pytest.MonkeyPatch, samples: int, torn: bool) -> None:
    """Run in a forked process that ends when so many samples are written, or in the middle of the next one."""
    add, count = ShardWork._add, iter(range(samples + 1))

    def dying(self: ShardWork, sample: object, out: io.FileIO) -> None:
        if next(count) == samples:
            if torn:
                out.write(b"half a sample")
            os._exit(9)
        add(self, sample, out)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(ShardWork, "_add", dying)
        try:
            run_batch("--shards", "-j", 1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_shard_continues_behind_its_last_sample(
    run_batch: Run, shards: Path, dst: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    run_batch("--shards")
    whole = read_shard(dst / "a" / "train-0.tar"), (dst / "a" / "train-0.tar").read_bytes()
    dst.rename(tmp_path / "whole")
    run_and_die(run_batch, monkeypatch, 4, torn)
    assert [name for name in tree(dst) if PARTS in name]
    added: list[object] = []
    add: Callable = ShardWork._add
    monkeypatch.setattr(ShardWork, "_add", lambda *given: (added.append(given), add(*given)))
    assert run_batch("--shards", "-j", 1)[0] == 10
    assert (dst / "a" / "train-0.tar").read_bytes() == whole[1]
    assert tree(dst) == tree(tmp_path / "whole")
    assert len(added) == 7 - 4
    assert [line["failures"] for line in lines(dst) if line["target"].endswith(".tar")] == [
        line["failures"] for line in lines(tmp_path / "whole") if line["target"].endswith(".tar")
    ]


def test_an_unfinished_shard_of_other_settings_is_dropped(
    run_batch: Run, shards: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_and_die(run_batch, monkeypatch, 4, False)
    run_batch("--shards", "--keep", 1)
    made = read_shard(dst / "a" / "train-0.tar")
    assert all(vqcodec.inspect(made[name]).layers[1:] == () for name in made if name.endswith(".vqc"))
    assert not (dst / PARTS).exists()


def test_packed_shards(run_batch: Run, invoke: Invoke, shards: Path, dst: Path, tmp_path: Path) -> None:
    run_batch("--shards")
    (dst / "bad.tar").write_bytes(b"no tar file")
    code, stdout, _ = invoke("batch", dst, tmp_path / "packed", "--to", "tokens", "--json")
    assert code == 10
    assert [one["source"] for one in json.loads(stdout)["failures"]] == ["bad.tar"]
    made = tree(tmp_path / "packed")
    assert list(made) == ["a/train-0.vqtok"]
    assert len(PackedShard(str(tmp_path / "packed" / "a" / "train-0.vqtok"))) == 6
    (dst / "bad.tar").unlink()
    assert json.loads(invoke("batch", dst, tmp_path / "packed", "--to", "tokens", "--json")[1])["skipped"] == 1
