"""Hostile .npz archives: headers that claim other types, shapes and lengths than the picture has."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

import vqcodec
from vqcodec.errors import InputError, LimitError
from vqcodec.tokens.npz import read_arrays, write_arrays


@pytest.fixture(scope="module")
def archive(tiny_vqc: bytes) -> bytes:
    return write_arrays(vqcodec.decode_tokens(tiny_vqc))


def with_member(archive: bytes, name: str, contents: bytes) -> bytes:
    """The archive with another member."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        new.writestr(name, contents)
    return file.getvalue()


def array(text: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """An array with any header."""
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + data


def header(descr: str, shape: str) -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


def test_the_archive_is_read(archive: bytes, tiny_vqc: bytes) -> None:
    assert read_arrays(archive) == vqcodec.decode_tokens(tiny_vqc)
    # Arrays that the reader does not know are ignored, whatever they hold.
    assert read_arrays(with_member(archive, "plane.².npy", b"x")) == vqcodec.decode_tokens(tiny_vqc)


def test_arrays_in_the_order_of_fortran(archive: bytes, tiny_vqc: bytes) -> None:
    file = io.BytesIO()
    np.save(file, np.asfortranarray(vqcodec.decode_tokens(tiny_vqc).planes[0]))
    assert read_arrays(with_member(archive, "plane.0.npy", file.getvalue())) == vqcodec.decode_tokens(tiny_vqc)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("plane.0.npy", array(header("|u1", "(1048576, 1048576)")), "integers of shape"),
        ("plane.0.npy", array(header("|u1", "(-1, -1)")), "integers of shape|not an archive"),
        ("plane.0.npy", array(header("|u1", "(10, 13)"), b"\0" * 100), "100 of 130 bytes"),
        ("plane.0.npy", array(header("|O", "(10, 13)")), "integers of shape"),
        ("plane.0.npy", array("{'descr': '|u1', ("), "not an archive"),
        ("plane.0.npy", array(header("|u1", "(10, 13)"), bytes(130), b"\3\0"), "version 3.0"),
        ("plane.0.npy", b"", "not an archive"),
        ("plane.0.npy", array(header("<u8", "(10, 13)"), b"\xff" * 1040), "the model has indices 0..15"),
        ("identity.npy", array(header("<U1073741824", "()")), "not an archive"),
        ("identity.npy", array(header("<U0", "()")), "one text"),
        ("identity.npy", array(header("<U100000", "()")), "400,000 bytes"),
        ("width.npy", array(header("<f8", "()"), bytes(8)), "one integer"),
        ("width.npy", array(header("<i8", "(0,)")), "one integer"),
        ("icc.npy", array(header("|u1", "(2, 2)"), bytes(4)), "uint8"),
        ("step.npy", array(header("<i8", "()"), b"\xff" * 8), "step -1"),
    ],
)
def test_other_arrays_are_refused_in_one_line(archive: bytes, name: str, contents: bytes, message: str) -> None:
    hostile = with_member(archive, name, contents)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as raised:
            read_arrays(hostile)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)


def test_a_picture_beyond_the_limit_is_refused_before_its_planes_are_made(archive: bytes) -> None:
    one_side = with_member(archive, "width.npy", array(header("<i8", "()"), (2**20).to_bytes(8, "little")))
    with pytest.raises(LimitError, match="--max-pixels"):
        read_arrays(one_side, max_pixels=2**20)
    with pytest.raises(LimitError, match="--max-pixels"):
        read_arrays(archive, max_pixels=100)


def test_metadata_beyond_the_limit_is_refused_before_it_is_unpacked(archive: bytes) -> None:
    with pytest.raises(LimitError, match="exif"):
        read_arrays(with_member(archive, "exif.npy", array(header("|u1", "(33554432,)"), bytes(2**25))))


@pytest.mark.parametrize("at", [6, 8, 10, 42])
def test_a_damaged_directory_is_one_line(archive: bytes, at: int) -> None:
    """Fields of the last entry: version, flags, method, lengths; zipfile raises a dozen classes."""
    damaged = bytearray(archive)
    start = damaged.rindex(b"PK\1\2") + at
    damaged[start : start + 2] = b"\xff\xff"
    with pytest.raises(InputError) as raised:
        read_arrays(bytes(damaged))
    assert "\n" not in str(raised.value)
