"""Functions of .vqc files accept any bytes-like object and refuse other types with a hint."""

from __future__ import annotations

import array
import io
import mmap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqcodec
from vqcodec.api import decode_picture
from vqcodec.errors import UsageError

CALLS: dict[str, Callable[[Any], object]] = {
    "decode": lambda data: np.asarray(vqcodec.decode(data)).tobytes(),
    "decode_picture": lambda data: decode_picture(data).pixels.tobytes(),
    "inspect": vqcodec.inspect,
    "verify": vqcodec.verify,
    "previews": lambda data: [step.image.tobytes() for step in vqcodec.previews(data)],
    "truncate": lambda data: (vqcodec.truncate(data, keep=4), vqcodec.truncate(data, keep=1)),
    "decode_tokens": vqcodec.decode_tokens,
}


def mapped(data: bytes, folder: Path) -> mmap.mmap:
    path = folder / "x.vqc"
    path.write_bytes(data)
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def strided(data: bytes) -> np.ndarray:
    wide = np.zeros((len(data), 2), np.uint8)
    wide[:, 0] = np.frombuffer(data, np.uint8)
    return wide[:, 0]


@pytest.mark.parametrize("call", CALLS)
def test_bytes_like_objects(tiny_vqc: bytes, tmp_path: Path, call: str) -> None:
    expected = CALLS[call](tiny_vqc)
    forms = (
        bytearray(tiny_vqc),
        memoryview(tiny_vqc),
        memoryview(b"xx" + tiny_vqc)[2:],
        mapped(tiny_vqc, tmp_path),
        np.frombuffer(tiny_vqc, np.uint8),
        strided(tiny_vqc),
        array.array("B", tiny_vqc),
    )
    for form in forms:
        assert CALLS[call](form) == expected, type(form)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ("p.vqc", "read_bytes"),
        (Path("p.vqc"), "read_bytes"),
        (io.BytesIO(b"x"), "read()"),
        (None, "NoneType"),
        (7, "int"),
        ([1, 2], "list"),
        (np.zeros(9, np.float32), "uint8"),
        (np.zeros(9, np.uint16), "uint8"),
        (torch.zeros(3), "Tensor"),
    ],
)
def test_other_types_are_refused(call: str, wrong: object, word: str) -> None:
    with pytest.raises(UsageError, match="the bytes of a") as raised:
        CALLS[call](wrong)
    assert word in str(raised.value)


@pytest.mark.parametrize("kind", [np.float32, np.float64, bool, object, "U3"])
def test_planes_of_other_types_are_refused(tiny_vqc: bytes, kind: Any) -> None:
    tokens = vqcodec.decode_tokens(tiny_vqc)
    planes = tuple(plane.astype(kind) for plane in tokens.planes)
    for call in (vqcodec.encode_tokens, vqcodec.detokenize):
        with pytest.raises(UsageError, match="plane 0 is"):
            call(replace(tokens, planes=planes))


def test_objects_as_planes_and_invalid_alpha_are_refused(tiny_vqc: bytes) -> None:
    tokens = vqcodec.decode_tokens(tiny_vqc)
    size = (tokens.height, tokens.width)
    for bad in (
        replace(tokens, planes=(np.full(tokens.planes[0].shape, np.nan), *tokens.planes[1:])),
        replace(tokens, planes=([[1], [1, 2]], *tokens.planes[1:])),  # type: ignore[arg-type]
        replace(tokens, planes=(None, *tokens.planes[1:])),  # type: ignore[arg-type]
        replace(tokens, alpha=np.zeros(size, np.float32)),
        replace(tokens, alpha=np.zeros((3, 3), np.uint8)),
    ):
        with pytest.raises(UsageError, match="tokens: "):
            vqcodec.encode_tokens(bad)


def test_tensors_and_all_integer_types_are_accepted(tiny_vqc: bytes) -> None:
    tokens = vqcodec.decode_tokens(tiny_vqc)
    stored = vqcodec.encode_tokens(tokens)
    for form in (
        torch.from_numpy,
        lambda plane: torch.from_numpy(plane).long().requires_grad_(False),
        lambda plane: plane.astype(">i8"),
        lambda plane: np.asfortranarray(plane.astype(np.uint8)),
        lambda plane: plane.tolist(),
    ):
        other = replace(tokens, planes=tuple(form(plane) for plane in tokens.planes))
        assert vqcodec.encode_tokens(other) == stored


def test_tokens_compare(tiny_vqc: bytes) -> None:
    tokens, again = vqcodec.decode_tokens(tiny_vqc), vqcodec.decode_tokens(tiny_vqc)
    size = (tokens.height, tokens.width)
    alpha = replace(tokens, alpha=np.zeros(size, np.uint8))
    assert (tokens == again) is True
    assert (tokens != again) is False
    assert (tokens == replace(again, planes=(again.planes[0] ^ 1, *again.planes[1:]))) is False
    assert (tokens == tokens.kept(1)) is False
    assert (tokens == alpha) is False
    assert (alpha == replace(tokens, alpha=np.ones(size, np.uint8))) is False
    assert alpha == replace(tokens, alpha=np.zeros(size, np.uint8))
    assert tokens != "tokens"
