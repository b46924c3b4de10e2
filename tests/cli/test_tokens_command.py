"""`vqcodec tokens`: files to arrays and back, and refused archives."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.errors import InputError, LimitError
from vqcodec.tokens.npz import read_arrays, write_arrays

Invoke = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("keep", [1, 3, 4])
def test_a_file_becomes_arrays_and_the_same_file(
    tiny_model: str, photo: Image.Image, invoke: Invoke, tmp_path: Path, keep: int
) -> None:
    image = photo.copy()
    image.putalpha(photo.convert("L"))
    image.info["xmp"] = b"<x/>"
    (tmp_path / "a.vqc").write_bytes(vqcodec.encode(image, tiny_model, keep=keep))
    code, out, _ = invoke("tokens", tmp_path / "a.vqc", "-o", tmp_path / "a.npz", "--json")
    assert code == 0
    assert json.loads(out)["planes"] == keep
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sum(name.startswith("plane.") for name in arrays.files) == keep
        assert arrays["plane.0"].dtype == np.uint8
        assert (int(arrays["width"]), int(arrays["height"])) == photo.size
    assert invoke("tokens", tmp_path / "a.npz", "-o", tmp_path / "b.vqc")[0] == 0
    assert (tmp_path / "b.vqc").read_bytes() == (tmp_path / "a.vqc").read_bytes()


def test_outputs_are_not_overwritten_and_have_a_known_suffix(tiny_vqc: bytes, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "a.vqc").write_bytes(tiny_vqc)
    (tmp_path / "a.npz").write_bytes(b"mine")
    assert invoke("tokens", tmp_path / "a.vqc", "-o", tmp_path / "a.npz")[0] == 7
    assert (tmp_path / "a.npz").read_bytes() == b"mine"
    assert invoke("tokens", tmp_path / "a.vqc", "-o", tmp_path / "a.png")[0] == 2
    code, _, err = invoke("tokens", tmp_path / "a.npz", "-o", tmp_path / "b.vqc")
    assert (code, len(err.splitlines())) == (3, 1)


def changed(data: bytes, **arrays: object) -> bytes:
    with np.load(io.BytesIO(data)) as archive:
        kept = {name: archive[name] for name in archive.files} | arrays
    file = io.BytesIO()
    np.savez(file, **{name: value for name, value in kept.items() if value is not None})
    return file.getvalue()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"plane.1": None}, "not those of the first layers"),
        ({"plane.0": np.zeros((1, 1), np.uint8)}, "shape"),
        ({"plane.0": np.zeros((10, 13), np.float32)}, "integers"),
        ({"width": None}, "not an archive"),
        ({"width": np.array([1, 2])}, "one integer"),
        ({"width": np.int64(0)}, "a side"),
        ({"alpha": np.zeros((2, 2), np.uint8)}, "alpha"),
    ],
)
def test_damaged_archives_are_one_line(tiny_vqc: bytes, arrays: dict[str, object], message: str) -> None:
    data = write_arrays(vqcodec.decode_tokens(tiny_vqc))
    with pytest.raises(InputError, match=message) as caught:
        read_arrays(changed(data, **arrays))
    assert len(str(caught.value).splitlines()) == 1


def test_pickles_are_not_read(tiny_vqc: bytes) -> None:
    data = write_arrays(vqcodec.decode_tokens(tiny_vqc))
    for name, message in (("model", "one text"), ("identity", "one text"), ("plane.0", "integers"), ("icc", "uint8")):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read_arrays(changed(data, **{name: np.array([{}], dtype=object)}))


def test_a_bomb_is_not_unpacked(tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_arrays(vqcodec.decode_tokens(tiny_vqc))
    monkeypatch.setattr("vqcodec.tokens.npz.MAX_BYTES", 100)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(LimitError, match="beyond the limit"):
        read_arrays(data)
