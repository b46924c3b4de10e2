"""Writing of a Picture: exact formats, metadata kept, losses named."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.errors import UsageError
from vqcodec.image.files import read_picture, write_picture
from vqcodec.image.picture import Picture, from_array, from_pillow, to_pillow

from ..image_parts import ADOBE_ICC, GREY_ICC, SIZES, exif_of, noise, photo

FULL = {"icc": ADOBE_ICC, "exif": exif_of(1).tobytes(), "xmp": b"<x:xmpmeta/>"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("format", ["png", "ppm"])
def test_png_and_ppm_are_exact(format: str, channels: int, size: tuple[int, int]) -> None:
    picture = from_array(noise(*size, channels))
    data, lost = write_picture(picture, format)
    back = read_picture(data)
    assert np.array_equal(back.pixels, picture.pixels)
    assert back.grey == picture.grey
    if format == "png":
        assert lost == ()
        assert (back.alpha is None) == (picture.alpha is None)
        assert back.alpha is None or np.array_equal(back.alpha, picture.alpha)
    else:
        assert back.alpha is None
        assert lost == (() if picture.alpha is None else ("ppm holds no alpha: dropped",))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_jpg_and_webp_are_close(format: str, grey: bool) -> None:
    picture = from_pillow(photo().convert("L") if grey else photo())
    data, lost = write_picture(picture, format)
    back = read_picture(data)
    assert lost == ()
    assert np.abs(back.pixels.astype(int) - picture.pixels).mean() < 3
    assert back.grey == (grey and format == "jpg")


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_metadata_is_kept_by_writing(format: str) -> None:
    picture = Picture(np.asarray(photo()), **FULL)
    back = read_picture(write_picture(picture, format)[0])
    assert (back.icc, back.exif, back.xmp) == (picture.icc, picture.exif, picture.xmp)
    assert back.warnings == ()
    image = to_pillow(picture)
    assert (image.info["icc_profile"], image.info["exif"], image.info["xmp"]) == tuple(FULL.values())


def test_losses_of_formats_are_named() -> None:
    rgba = from_array(np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]] * 8, np.uint8).repeat(8, axis=1))
    data, lost = write_picture(rgba, "jpg")
    assert lost == ("jpg holds no alpha: flattened onto white",)
    back = read_picture(data).pixels.astype(int)
    assert np.abs(back[:, :8] - 255).max() < 12
    assert np.abs(back[:, 8:] - [10, 20, 30]).max() < 12
    long = Picture(rgba.pixels, xmp=b"x" * 70000, exif=exif_of(1).tobytes() + b"x" * 70000)
    assert len(write_picture(long, "jpg")[1]) == 2
    full = Picture(rgba.pixels, rgba.alpha, **FULL)
    assert [line.split()[3] for line in write_picture(full, "ppm")[1]] == ["alpha:", "ICC:", "Exif:", "XMP:"]


def test_grey_profile_is_not_attached_to_the_rgb_of_webp() -> None:
    picture = Picture(np.full((4, 4, 3), 55, np.uint8), grey=True, icc=GREY_ICC, xmp=b"<x/>")
    back = read_picture(write_picture(picture, "webp")[0])
    assert back.icc is None
    assert back.xmp == b"<x/>"
    assert np.abs(back.pixels.astype(int) - 128).max() <= 3
    back = read_picture(write_picture(picture, "png")[0])
    assert back.icc == GREY_ICC
    assert (back.pixels == 55).all()


def test_limits_of_formats_are_usage_errors() -> None:
    wide = from_array(np.zeros((1, 16384), np.uint8))
    with pytest.raises(UsageError, match=r"16383.*use png"):
        write_picture(wide, "webp")
    assert write_picture(wide, "png")[1] == ()
    with pytest.raises(UsageError, match="65500"):
        write_picture(from_array(np.zeros((65501, 1), np.uint8)), "jpg")
    with pytest.raises(UsageError, match="avif, jpg, png, ppm, tiff, webp"):
        write_picture(wide, "gif")


def test_writing_is_deterministic_and_reading_does_not_change_the_image() -> None:
    image = photo()
    image.info.update(icc_profile=ADOBE_ICC, exif=exif_of(6).tobytes(), xmp=b'tiff:Orientation="6"')
    info, pixels = dict(image.info), image.tobytes()
    picture = from_pillow(image)
    assert (image.info, image.tobytes()) == (info, pixels)
    for format in ("png", "jpg", "webp", "ppm"):
        assert write_picture(picture, format) == write_picture(from_pillow(image), format)
