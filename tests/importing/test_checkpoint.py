"""Checkpoint files: contents written by training scripts, and hostile pickles, of which no code may run."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vqcodec.errors import InputError
from vqcodec.importing import checkpoint
from vqcodec.importing.checkpoint import read_checkpoint


def weights() -> dict[str, Tensor]:
    return {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.bias": torch.ones(2)}


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == weights().keys() and all(torch.equal(found[key], value) for key, value in weights().items())


# Contents of real checkpoints


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "tree",
    [
        weights(),
        {"model": weights(), "steps": 7},
        {"model": {"encoder.weight": torch.zeros(2, 3)}, "ema": weights(), "optimizer": {"state": {0: [1, 2]}}},
        {"ema": {}, "model": {"state_dict": weights()}},
        {"state_dict": {f"module._orig_mod.{key}": value for key, value in weights().items()}},
        {"model": {key.replace("encoder.", "encoder._orig_mod."): value for key, value in weights().items()}},
        {"ema": {f"tokenizer.{key}": torch.nn.Parameter(value) for key, value in weights().items()}},
    ],
)
def test_weights_are_found_and_unwrapped(tree: dict[str, Any], zipped: bool, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_checkpoint(tmp_path / "x.pt"))


def test_settings_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    settings = argparse.Namespace(
        lr=1e-4, out=pathlib.PurePosixPath("a/b"), seed=np.int64(3), sizes=[1, 2], more=argparse.Namespace(x=np.ones(2))
    )
    torch.save({"args": settings, "model": weights(), "device": torch.device("cpu")}, tmp_path / "x.pt")
    assert same(read_checkpoint(tmp_path / "x.pt"))


def test_safetensors(tmp_path: Path) -> None:
    save_file({f"model.{key}": value for key, value in weights().items()}, tmp_path / "any.bin")
    assert same(read_checkpoint(tmp_path / "any.bin"))


def test_the_part_that_is_asked_for(tmp_path: Path) -> None:
    other = {"encoder.weight": torch.zeros(2, 3), "encoder.bias": torch.zeros(2)}
    torch.save({"ema": other, "model": weights(), "old": other}, tmp_path / "x.pt")
    assert same(read_checkpoint(tmp_path / "x.pt", "model"))
    assert not same(read_checkpoint(tmp_path / "x.pt"))
    with pytest.raises(InputError, match="no part 'emma'; it holds ema, model, old"):
        read_checkpoint(tmp_path / "x.pt", "emma")


# Hostile contents


class Call:
    """Object whose pickle has the reader call `function(*arguments)`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def calls(sentinel: Path) -> list[object]:
    """Objects that create the file `sentinel` if an unrestricted unpickler reads them."""
    return [
        Call(os.system, f"touch {sentinel}"),
        Call(eval, f"__import__('pathlib').Path({str(sentinel)!r}).touch()"),
        Call(exec, f"import pathlib; pathlib.Path({str(sentinel)!r}).touch()"),
        Call(Path.touch, sentinel),
        Call(open, str(sentinel), "w"),
        Call(getattr(pickle, "loads"), pickle.dumps(Call(os.system, f"touch {sentinel}"))),  # noqa: B009
        Call(torch.load, str(sentinel)),
        Call(torch.save, 1, str(sentinel)),
    ]


@pytest.mark.parametrize("which", range(8))
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused(which: int, zipped: bool, tmp_path: Path) -> None:
    sentinel, path = tmp_path / "ran", tmp_path / "x.pt"
    bad = calls(sentinel)[which]
    for tree in ({"model": weights(), "args": bad}, {**weights(), "x": bad}, bad):
        torch.save(tree, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match=r"refused, and nothing in it was run|can be read") as raised:
            read_checkpoint(path)
        assert "\n" not in str(raised.value)
        assert not sentinel.exists()


def test_the_harmful_pickles_do_harm_where_pickles_are_trusted(tmp_path: Path) -> None:
    for i, bad in enumerate(calls(tmp_path / "ran")[:5]):
        path = tmp_path / f"{i}.pt"
        torch.save(bad, path)
        opened = torch.load(path, weights_only=False)
        if hasattr(opened, "close"):
            opened.close()
        assert (tmp_path / "ran").exists()
        (tmp_path / "ran").unlink()


def test_a_harmless_class_cannot_be_made_to_act(tmp_path: Path) -> None:
    sentinel, path = tmp_path / "ran", tmp_path / "x.pt"
    before = set(torch.serialization.get_safe_globals())
    torch.save({"args": argparse.Namespace(touch=str(sentinel), __new__=1, __call__=2), "model": weights()}, path)
    assert same(read_checkpoint(path))
    assert set(torch.serialization.get_safe_globals()) == before
    made = checkpoint.Inert("touch", x=1)
    made.__setstate__({"touch": 1})
    assert vars(made) == {}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.randn(500)}}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError) as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_are_read_or_refused(zipped: bool, tmp_path: Path) -> None:
    path, random = tmp_path / "x.pt", np.random.default_rng(0)
    torch.save({"model": weights(), "args": argparse.Namespace(x=1)}, path, _use_new_zipfile_serialization=zipped)
    data, refused = path.read_bytes(), 0
    for _ in range(200):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[random.integers(0, len(data), 3)] = random.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            read_checkpoint(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > 50


def test_an_archive_of_a_version_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": weights()}, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 142
    path.write_bytes(data)
    with pytest.raises(InputError, match="cut off or damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("cut", [4, 30, 200])
def test_truncated_safetensors_are_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=str(path)):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"hello", b"PK\x03\x04", bytes(1000), struct.pack("<Q", 50) + b"{" * 60]
)
def test_what_is_no_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match=r"x: "):
        read_checkpoint(tmp_path / "x")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_checkpoint(path)


def repacked(path: Path, compression: int, change: Callable[[str, bytes], bytes] = lambda _, data: data) -> None:
    """Rewrite the archive at `path`."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def test_an_archive_that_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.zeros(250_000)}}, path)
    repacked(path, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match="compressed parts"):
        read_checkpoint(path)


def test_parts_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.zeros(1000)}}, path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the directory; its sizes start at byte 20
    while b"data/0" not in data[at : at + 80]:
        at = data.rindex(b"PK\x01\x02", 0, at)
    data[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data)
    with pytest.raises(InputError, match="claim more bytes"):
        read_checkpoint(path)


def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.zeros(1000)}}, path)
    # Replace the pickled size of 1000 elements by 60000.
    repacked(path, zipfile.ZIP_STORED, lambda _, data: data.replace(struct.pack("<BH", 0x4D, 1000), b"M\x60\xea"))
    with pytest.raises(InputError, match="can be read"):
        read_checkpoint(path)


def test_a_claim_of_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"model": weights(), "x": Call(bytearray, 2**60)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="can be read"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_name_book_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"model": weights()}, tmp_path / "x.pt")
    monkeypatch.setattr(checkpoint, "MAX_PICKLE_BYTES", 100)
    with pytest.raises(InputError, match="bytes of names"):
        read_checkpoint(tmp_path / "x.pt")


def within_itself() -> dict[str, Any]:
    tree: dict[str, Any] = {}
    tree["ema"] = tree
    return tree


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1, 2], "holds a list; weights by name"),
        ({}, "holds nothing"),
        ({"steps": 3, "args": None}, "no weights in it; it holds steps, args"),
        ({"model": {"w": torch.ones(1), "n": 3}}, "no weights in it; it holds n"),
        ({"model": {0: torch.ones(1)}}, "it holds 0"),
        ({"a": torch.ones(1), "_orig_mod.a": torch.ones(1)}, "under one name twice"),
        (within_itself(), "no weights in it; it holds ema"),
    ],
)
def test_what_holds_no_weights_is_refused_in_one_line(tree: object, message: str, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "x.pt")
    with pytest.raises(InputError, match=message) as raised:
        read_checkpoint(tmp_path / "x.pt")
    assert "\n" not in str(raised.value)
