"""Samples of more than 8 bits and pixels that are not square: converted or left out with one warning."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import InputError
from vqcodec.image.files import read_picture
from vqcodec.image.pixels import raw_mode
from vqcodec.image.sources import is_deep

from ..image_parts import chunk, noise, saved

CUT = ("samples of more than 8 bits cut to 8 bits",)


def jpeg_2000(bits: int, kind: str = "JPEG2000", **options: object) -> bytes:
    """A file of RGB samples 0..255 whose header states `bits` per sample."""
    data = bytearray(saved(Image.fromarray(noise(24, 16, 3)), kind, **options))
    place = data.index(b"\xff\x4f\xff\x51") + 42
    for component in range(3):
        data[place + 3 * component] = bits - 1
    if (box := data.find(b"ihdr")) >= 0:
        data[box + 14] = bits - 1
    return bytes(data)


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}], ids=["box", "codestream"])
@pytest.mark.parametrize(("bits", "lost"), [(8, ()), (10, CUT), (12, CUT), (16, CUT)])
def test_deep_jpeg_2000(bits: int, lost: tuple[str, ...], options: dict[str, object]) -> None:
    assert read_picture(jpeg_2000(bits, **options)).warnings == lost


@pytest.mark.parametrize(("bytes_per_sample", "lost"), [(1, ()), (2, CUT)])
def test_deep_sgi(bytes_per_sample: int, lost: tuple[str, ...]) -> None:
    array = noise(24, 16, 3)
    picture = read_picture(saved(Image.fromarray(array), "SGI", bpc=bytes_per_sample))
    assert picture.warnings == lost
    assert np.array_equal(picture.pixels, array)


def test_deep_avif_and_heif_are_found_before_they_are_decoded() -> None:
    data = bytearray(saved(Image.fromarray(noise(24, 16, 3)), "AVIF", speed=10))
    with Image.open(io.BytesIO(data)) as image:
        assert not is_deep(image)
        data[data.index(b"av1C") + 6] |= 0x40
        image.fp = io.BytesIO(data)
        assert is_deep(image)
        assert raw_mode(image) == ";deep"
    heif = Image.fromarray(noise(24, 16, 3))
    heif.info["bit_depth"] = 8
    assert not is_deep(heif)
    heif.info["bit_depth"] = 10
    assert is_deep(heif)


def tiff_12_bit(photometric: int) -> bytes:
    """A grey ramp of 12 bits, 64 x 4 pixels."""
    samples = np.linspace(0, 4095, 64).astype(int)[None].repeat(4, 0)
    first, second = samples[:, ::2], samples[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
    tags = {256: 64, 257: 4, 258: 12, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 4, 279: len(packed)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    return head + packed + struct.pack("<H", len(tags)) + directory + bytes(4)


def test_12_bit_grey_tiff_has_its_whole_range() -> None:
    picture = read_picture(tiff_12_bit(photometric=1))
    assert np.array_equal(picture.pixels[0, :, 0], np.rint(np.linspace(0, 4095, 64).astype(int) * 255 / 4095))
    assert picture.warnings == ("12-bit grey scaled to 8 bits",)


def test_kinds_of_tiff_that_pillow_does_not_read_are_not_called_unread() -> None:
    with pytest.raises(InputError, match="a kind of TIFF that is not read; convert it to PNG"):
        read_picture(tiff_12_bit(photometric=0))


def shaped_png(x: int, y: int) -> bytes:
    data = saved(Image.fromarray(noise(24, 16, 3)), "PNG")
    place = data.index(b"IDAT") - 4
    return data[:place] + chunk(b"pHYs", struct.pack(">IIB", x, y, 0)) + data[place:]


def shaped_jpeg(x: int, y: int) -> bytes:
    data = bytearray(saved(Image.fromarray(noise(24, 16, 3)), "JPEG"))
    struct.pack_into(">BHH", data, data.index(b"JFIF\0") + 7, 0, x, y)
    return bytes(data)


@pytest.mark.parametrize("write", [shaped_png, shaped_jpeg])
def test_pixels_that_are_not_square_are_named(write: object) -> None:
    assert callable(write)
    assert read_picture(write(1, 1)).warnings == ()
    for shape in ((2, 1), (10, 11)):
        [warning] = read_picture(write(*shape)).warnings
        assert f"pixel aspect ratio {shape[0]}:{shape[1]} left out" in warning
