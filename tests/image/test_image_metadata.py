"""Exif, XMP and their orientation."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from PIL.ExifTags import IFD, Base

from vqcodec.image.files import read_picture, write_picture
from vqcodec.image.metadata import upright_exif
from vqcodec.image.picture import from_pillow

from ..image_parts import exif_of, noise, saved


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_once(format: str, orientation: int) -> None:
    data = saved(Image.fromarray(noise(7, 5, 3)), format, exif=exif_of(orientation).tobytes())
    picture = read_picture(data)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(picture.pixels, expected)
    assert picture.exif is not None
    assert picture.exif.startswith(b"Exif\0\0")
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept.get(Base.Orientation, 1) == 1
    assert kept[Base.Make] == "Camera"
    assert kept.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 400
    again, _ = write_picture(picture, "png")
    assert np.array_equal(read_picture(again).pixels, picture.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_alpha_follows(orientation: int) -> None:
    image = Image.fromarray(noise(7, 5, 4))
    picture = read_picture(saved(image, "PNG", exif=exif_of(orientation)))
    image.getexif()[Base.Orientation] = orientation
    assert np.array_equal(picture.alpha, np.asarray(ImageOps.exif_transpose(image))[..., 3])


@pytest.mark.parametrize("packet", [b'<x tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_xmp_orientation_is_applied_and_reset(packet: bytes) -> None:
    array = noise(7, 5, 3)
    for format, options in (("WEBP", {"lossless": True}), ("JPEG", {})):
        picture = read_picture(saved(Image.fromarray(array), format, xmp=packet, **options))
        assert (picture.width, picture.height) == (5, 7)
        assert picture.xmp == packet.replace(b"6", b"1")
        assert picture.exif is None
    with_exif = read_picture(saved(Image.fromarray(array), "WEBP", xmp=packet, exif=exif_of(1), lossless=True))
    assert np.array_equal(with_exif.pixels, array)
    assert with_exif.xmp == packet.replace(b"6", b"1")


def test_exif_is_patched_in_place() -> None:
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        entries = struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
        exif = mark + struct.pack(order + "I", 8) + entries + b"maker notes"
        orientation, upright = upright_exif(b"Exif\0\0" + exif)
        assert orientation == 6
        assert len(upright) == len(exif) + 6
        assert upright_exif(upright) == (1, upright)
        assert upright.endswith(b"maker notes")


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x09\0", b"junk"]
)
def test_damaged_exif_is_dropped_with_a_warning(exif: bytes) -> None:
    image = Image.fromarray(noise(5, 4, 3))
    image.info["exif"] = exif
    picture = from_pillow(image)
    assert picture.exif is None
    assert picture.warnings == ("damaged Exif dropped",)


def test_text_exif_of_imagemagick_png() -> None:
    exif = exif_of(6).tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    picture = read_picture(saved(Image.fromarray(noise(7, 5, 3)), "PNG", pnginfo=info))
    assert (picture.width, picture.height) == (5, 7)
    assert picture.exif is not None
    assert b"Camera" in picture.exif
