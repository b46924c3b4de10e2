"""The line that names the missing parts of an incomplete file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.api import decode_picture
from vqcodec.container.damage import damage


@pytest.fixture(scope="module")
def data(tiny_model: str) -> bytes:
    """Six tiles of four layers, with alpha and metadata."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 1100, 4), np.uint8)
    pixels[..., 3] = 200
    picture = Image.fromarray(pixels)
    picture.info["xmp"] = b"<x>" + 200 * b"y" + b"</x>"
    exif = Image.Exif()
    exif[0x010E] = "noise"
    picture.info["exif"] = exif.tobytes()
    return vqcodec.encode(picture, tiny_model)


def damage_line(data: bytes) -> str:
    text = damage(container.read(data, allow_partial=True), len(data))
    assert text.startswith("cut or damaged file: ")
    assert decode_picture(data, allow_partial=True).warnings == (text,)
    assert vqcodec.decode(data, allow_partial=True).info["incomplete"]
    return text.removeprefix("cut or damaged file: ")


def flipped(data: bytes, *positions: int) -> bytes:
    out = bytearray(data)
    for position in positions:
        out[position] ^= 1
    return bytes(out)


def test_missing_parts_are_named(data: bytes) -> None:
    head = container.read_head(data)
    of = f"of {len(data):,} bytes, without"
    end = [head.segment_offset(k, 5) + 4 * head.words[k][5] + 2 for k in range(4)]
    assert damage_line(data[: end[3]]) == f"{end[3]:,} {of} metadata"
    assert damage_line(data[:-1]) == f"{len(data) - 1:,} {of} part of the metadata"
    assert damage_line(data[: end[1]]) == f"{end[1]:,} {of} layers 3 to 4, metadata"
    two = head.segment_offset(2, 2)
    assert damage_line(data[:two]) == f"{two:,} {of} layer 3 in 4 of 6 tiles, layer 4, metadata"
    alone = head.alpha_offset
    assert damage_line(data[:alone]) == f"{alone:,} {of} layers 2 to 4, alpha, metadata"


def test_damage_in_the_middle(data: bytes) -> None:
    head = container.read_head(data)
    inside = [head.segment_offset(1, 3) + 1, head.segment_offset(2, 0) + 1]
    assert damage_line(flipped(data, inside[0])) == "without layers 2 to 4 in 1 of 6 tiles"
    assert damage_line(flipped(data, *inside)) == "without layer 2 in 1 of 6 tiles, layers 3 to 4 in 2 of 6 tiles"
    assert damage_line(flipped(data, head.alpha_offset)) == "without alpha"
    assert damage_line(flipped(data, len(data) - 1)) == "without part of the metadata"


def test_bytes_after_the_end(data: bytes) -> None:
    assert damage_line(data + b"more") == "4 bytes too many at its end"
