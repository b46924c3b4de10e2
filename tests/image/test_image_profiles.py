"""ICC profiles: kept, applied, or converted by strip."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from vqcodec.image.files import read_picture
from vqcodec.image.picture import Picture, from_pillow, strip

from ..image_parts import ADOBE_ICC, GREY_ICC, SRGB_ICC, WHITE, cmyk_icc, exif_of, icc, noise, photo, saved


@pytest.mark.parametrize(
    ("mode", "profile", "kept"),
    [
        ("RGB", SRGB_ICC, True),
        ("RGBA", ADOBE_ICC, True),
        ("P", SRGB_ICC, True),
        ("L", GREY_ICC, True),
        ("LA", GREY_ICC, True),
        ("I;16", GREY_ICC, True),
        ("L", SRGB_ICC, False),
        ("RGB", GREY_ICC, False),
        ("RGB", cmyk_icc(), False),
        ("CMYK", SRGB_ICC, False),
        ("RGB", b"rubbish", False),
        ("RGB", SRGB_ICC[:200], False),
        ("RGB", b"\0" * 200, False),
    ],
)
def test_profile_is_kept_only_if_it_describes_the_pixels(mode: str, profile: bytes, kept: bool) -> None:
    image = Image.new(mode, (3, 2))
    image.info["icc_profile"] = profile
    picture = from_pillow(image)
    assert picture.icc == (profile if kept else None)
    assert (picture.warnings == ()) == (kept and mode != "I;16")
    assert mode != "CMYK" or "approximate" in picture.warnings[0]


def test_cmyk_goes_through_its_profile() -> None:
    cmyk = np.zeros((1, 4, 4), np.uint8)
    cmyk[0, 1, 3] = cmyk[0, 2, 0] = cmyk[0, 3, 1] = 255  # paper, black, cyan, magenta
    image = Image.frombytes("CMYK", (4, 1), cmyk.tobytes())
    plain = from_pillow(image)
    assert plain.pixels[0].tolist() == [[255] * 3, [0] * 3, [0, 255, 255], [255, 0, 255]]
    data = saved(image, "TIFF", icc_profile=cmyk_icc())
    picture = read_picture(data)
    assert picture.icc is None
    assert picture.warnings == ("CMYK converted to sRGB through its ICC profile",)
    expected = [255, 0, 119, 255]  # L* 100, 0, 50, 100
    assert np.abs(picture.pixels[0].astype(int) - np.array(expected)[:, None]).max() <= 2


def test_cmyk_jpeg_of_a_photograph() -> None:
    source = photo()
    picture = read_picture(saved(source.convert("CMYK"), "JPEG", quality=95, subsampling=0))
    assert np.abs(picture.pixels.astype(int) - np.asarray(source)).mean() < 4
    assert len(picture.warnings) == 1


def test_strip_drops_everything_of_an_srgb_picture() -> None:
    picture = Picture(np.asarray(photo()), icc=SRGB_ICC, exif=exif_of(1).tobytes(), xmp=b"<x/>")
    bare = strip(picture)
    assert (bare.icc, bare.exif, bare.xmp) == (None, None, None)
    assert bare.pixels is picture.pixels
    assert strip(bare).pixels is picture.pixels


def test_strip_converts_other_spaces_to_srgb() -> None:
    source = photo()
    wide = ImageCms.profileToProfile(
        source, ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_ICC)), renderingIntent=1
    )
    bare = strip(Picture(np.asarray(wide), icc=ADOBE_ICC))
    assert np.abs(np.asarray(wide).astype(int) - np.asarray(source)).max() > 10
    assert np.abs(bare.pixels.astype(int) - np.asarray(source)).max() <= 4
    grey = strip(Picture(np.full((2, 3, 3), 55, np.uint8), grey=True, icc=GREY_ICC))
    assert np.abs(grey.pixels.astype(int) - 128).max() <= 2  # linear 0.2157 is 0.502 in sRGB
    assert grey.grey
    assert grey.pixels.min() == grey.pixels.max()


def test_strip_survives_an_unusable_profile() -> None:
    hollow = icc(b"RGB ", b"XYZ ", WHITE)
    bare = strip(Picture(noise(3, 2, 3), icc=hollow))
    assert bare.icc is None
    assert len(bare.warnings) == 1


@pytest.mark.parametrize("profile", [SRGB_ICC, ADOBE_ICC, b"junk" * 50], ids=["sRGB", "Adobe RGB", "damaged"])
def test_profile_in_the_boxes_of_jpeg_2000(profile: bytes) -> None:
    data = saved(Image.fromarray(noise(24, 16, 3)), "JPEG2000")
    head, colour = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    end = colour + int.from_bytes(data[colour : colour + 4], "big")
    box = b"colr" + b"\2\0\0" + profile
    box = struct.pack(">I", len(box) + 4) + box
    size = int.from_bytes(data[head : head + 4], "big") - (end - colour) + len(box)
    made = data[:head] + struct.pack(">I", size) + data[head + 4 : colour] + box + data[end:]
    picture = read_picture(made)
    assert picture.icc == (profile if profile[36:40] == b"acsp" else None)
    assert picture.warnings == (() if picture.icc else ("damaged ICC profile dropped",))
    assert read_picture(data).icc is None
