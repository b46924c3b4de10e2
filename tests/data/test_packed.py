"""Packed shards: the layout of docs/tokens.md read without this package, damage, other models, the command."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.data import TokenDataset, pack
from vqcodec.data.packed import HEAD, PackedShard
from vqcodec.errors import FormatError, InputError, UsageError, VqcError

from .conftest import N, Samples


def test_the_layout_is_the_documented_one(samples: Samples) -> None:
    """A reader from the page alone: numpy, json and zlib."""
    data = samples.packed.read_bytes()
    magic, version, crc, start, length = struct.unpack_from("<8sIIQQ", data)
    assert (magic, version) == (b"\x8fVQT\r\n\x1a\n", 1)
    assert zlib.crc32(data[start : start + length]) == crc
    directory = json.loads(data[start : start + length])
    assert directory["alphabets"] == [16, 16, 16, 16]
    assert directory["layers"] == [[0], [1], [2], [3]]
    assert directory["pictures"] == N
    arrays = {}
    for name, place in directory["places"].items():
        arrays[name] = data[place["offset"] : place["offset"] + place["size"]]
        assert zlib.crc32(arrays[name]) == place["crc32"]
    ends = np.frombuffer(arrays["keys.ends"], "<i8")
    for i, row in enumerate(struct.iter_unpack("<QIIIIIi", arrays["index"])):
        offset, crc, shapes, kind, width, height, step = row
        assert (width, height, step) == (96, 64, -1)
        tokens = samples.tokens[arrays["keys.data"][ends[i] : ends[i + 1]].decode()]
        assert offset % 8 == 0
        assert kind == (tokens.n_layers < 4)
        record = np.frombuffer(data, np.int8 if kind else np.uint8, 4 * 4 * 6, offset)
        assert directory["shapes"][shapes] == [[4, 6]] * 4
        assert zlib.crc32(record.tobytes()) == crc
        np.testing.assert_array_equal(record.reshape(4, 4, 6), np.stack(tokens.planes))


def test_every_flipped_byte_of_the_planes_and_arrays_is_detected(samples: Samples, tmp_path: Path) -> None:
    data = bytearray(samples.packed.read_bytes())
    length = HEAD.unpack_from(data)[-2]
    path = tmp_path / "damaged.vqtok"
    rng = np.random.default_rng(0)
    for at in [*range(HEAD.size - 32), *rng.integers(HEAD.size, len(data), 150).tolist()]:
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = {sample["__key__"]: sample for sample in TokenDataset(path)}
        except VqcError:
            continue
        assert at < length  # padding of records only
        for key, tokens in samples.tokens.items():
            np.testing.assert_array_equal(found[key]["tokens"], np.stack(tokens.planes))


@pytest.mark.parametrize("size", [0, 10, 63, 64, 200, -1])
def test_cut_files_are_refused(samples: Samples, tmp_path: Path, size: int) -> None:
    (tmp_path / "cut.vqtok").write_bytes(samples.packed.read_bytes()[:size])
    with pytest.raises((FormatError, InputError), match=r"^.*cut\.vqtok: "):
        PackedShard(str(tmp_path / "cut.vqtok"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": N + 1}, "does not fit"),
        ({"pictures": -1}, "pictures out of range"),
        ({"alphabets": [16, 16, 16]}, "layers out of range"),
        ({"alphabets": [16, 16, 16, 2**40]}, "alphabets out of range"),
        ({"layers": []}, "layers out of range"),
        ({"shapes": []}, "index does not fit"),
        ({"shapes": [[[2**30, 2**30]] * 4]}, "index does not fit"),
        ({"shapes": [[[0, 6]] * 4]}, "shapes out of range"),
        ({"places": {}}, "places out of range"),
        ({"other": 1}, "other"),
    ],
)
def test_directories_that_do_not_fit_are_refused(
    samples: Samples, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    data = samples.packed.read_bytes()
    magic, version, _, start, length = HEAD.unpack_from(data)
    directory = json.dumps(json.loads(data[start : start + length]) | changes).encode()
    head = HEAD.pack(magic, version, zlib.crc32(directory), start, len(directory))
    (tmp_path / "a.vqtok").write_bytes(head + data[HEAD.size : start] + directory)
    with pytest.raises(FormatError, match=message):
        PackedShard(str(tmp_path / "a.vqtok"))


def test_planes_of_several_shapes_and_steps(stepped: str, photo: Image.Image, tmp_path: Path) -> None:
    tokens = {}
    for i, size in enumerate([(200, 150), (64, 96)]):
        data = vqcodec.encode(photo.resize(size), stepped)
        (tmp_path / f"{i}.vqc").write_bytes(data)
        tokens[str(i)] = vqcodec.decode_tokens(data)
    assert pack(tmp_path, tmp_path / "a.vqtok") == 2
    for sample in TokenDataset(tmp_path / "a.vqtok"):
        for plane, wanted in zip(sample["tokens"], tokens[sample["__key__"]].planes, strict=True):
            np.testing.assert_array_equal(plane, wanted)
    with pytest.raises(InputError, match="packed already"):
        pack(tmp_path / "a.vqtok", tmp_path / "b.vqtok")
    assert not (tmp_path / "b.vqtok").exists()
    with pytest.raises(UsageError, match=r"ends in \.vqtok"):
        pack(tmp_path, tmp_path / "b.tok")


def test_the_first_layers_are_packed(samples: Samples, tmp_path: Path) -> None:
    pack(samples.folder, tmp_path / "two.vqtok", layers=2)
    data = TokenDataset(tmp_path / "two.vqtok", labels=())
    assert data.vocabulary == (16, 16)
    for sample in data:
        np.testing.assert_array_equal(sample["tokens"], np.stack(samples.tokens[sample["__key__"]].planes[:2]))
    with pytest.raises(UsageError, match=r"layers 3: 1\.\.2"):
        TokenDataset(tmp_path / "two.vqtok", layers=3)


def test_command_packs_folders_and_shards(
    samples: Samples, invoke: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    target = tmp_path / "out.vqtok"
    code, out, _ = invoke("tokens", samples.folder, target, "--json")
    assert code == 0
    assert json.loads(out)["pictures"] == N
    assert target.read_bytes() == samples.packed.read_bytes()
    code, _, err = invoke("tokens", samples.tars, "-o", target)
    assert code == 7
    assert "exists already" in err
    code, _, err = invoke("tokens", samples.tars, "-o", target, "-f")
    assert code == 0
    assert f"{N} pictures, 4 planes of model tiny" in err
    assert len(TokenDataset(target)) == N
    code, _, err = invoke("tokens", "memory://none/a.tar", "-o", tmp_path / "b.vqtok")
    assert (code, err) == (3, "vqcodec: memory://none/a.tar: no such file, folder or bucket\n")
    assert not list(tmp_path.glob("b.vqtok*"))
