"""Any Pillow image to a Picture and back: every mode, orientation, profile, limit and damaged file."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from PIL.ExifTags import IFD, Base

from vqcodec.errors import InputError, LimitError, UsageError
from vqcodec.image import (
    MAX_PIXELS,
    Picture,
    as_picture,
    from_array,
    from_pillow,
    read_picture,
    strip,
    to_pillow,
    write_picture,
)
from vqcodec.image_metadata import upright_exif

SIZES = [(1, 1), (1, 37), (37, 1), (31, 23), (64, 48)]  # width, height


def noise(width: int, height: int, channels: int, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def photo(name: str = "chelsea.png") -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="real photographs come with scikit-image")
    with Image.open(Path(data.__file__).parent / name) as image:
        small = image.convert("RGB").resize((120, 80))
    small.info.clear()
    return small


def icc(space: bytes, pcs: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """A version 2 profile of these tags."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    d50 = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    size = struct.pack(">I", start + len(body))
    header = size + bytes(4) + b"\x02\x40\0\0" + kind + space + pcs + bytes(12) + b"acsp" + bytes(28) + d50
    return header.ljust(128, b"\0") + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(v * 65536) for v in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
GREY_ICC = icc(b"GRAY", b"XYZ ", WHITE | {b"kTRC": gamma(1.0)})
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE_ICC = icc(
    b"RGB ",
    b"XYZ ",
    WHITE
    | {b"rXYZ": xyz(0.6097, 0.3111, 0.0195), b"gXYZ": xyz(0.2053, 0.6257, 0.0609), b"bXYZ": xyz(0.1492, 0.0632, 0.7446)}
    | {tag: gamma(2.2) for tag in (b"rTRC", b"gTRC", b"bTRC")},
)


def cmyk_icc() -> bytes:
    """A press whose ink only makes grey: Lab lightness 100 x (1 - K), or 50 less with C, and no colour at all."""
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    ramp = struct.pack(">HH", 0, 65535)
    cells = b""
    for cell in range(16):
        cyan, black = cell >> 3 & 1, cell & 1
        cells += struct.pack(">HHH", int(65280 * max(0, 1 - black - 0.5 * cyan)), 32768, 32768)
    lut = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + struct.pack(">HH", 2, 2) + ramp * 4 + cells + ramp * 3
    return icc(b"CMYK", b"Lab ", WHITE | {b"A2B0": lut}, b"prtr")


# Modes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_native_modes_are_exact_and_silent(mode: str, channels: int, size: tuple[int, int]) -> None:
    array = noise(*size, channels)
    image = Image.fromarray(array)
    assert image.mode == mode
    before = image.tobytes()
    picture = from_pillow(image)
    assert (picture.width, picture.height, picture.n_pixels) == (*size, size[0] * size[1])
    assert picture.grey == (channels <= 2)
    assert (picture.alpha is not None) == (channels in (2, 4))
    assert picture.warnings == ()
    assert picture.pixels.flags.c_contiguous
    back = to_pillow(picture)
    assert back.mode == mode
    assert np.array_equal(np.asarray(back), array)
    assert image.tobytes() == before
    from_arrays = from_array(array)
    assert np.array_equal(from_arrays.pixels, picture.pixels)
    assert (from_arrays.alpha is None) == (picture.alpha is None)
    assert from_arrays.grey == picture.grey


def test_opaque_alpha_is_kept_and_equal_channels_are_not_grey() -> None:
    rgba = np.full((3, 5, 4), 255, np.uint8)
    picture = from_pillow(Image.fromarray(rgba))
    assert picture.alpha is not None
    assert not picture.grey


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "La", "RGBa"])
def test_foreign_modes_are_converted_with_one_warning(mode: str) -> None:
    source = photo()
    via = {"La": "LA", "RGBa": "RGBA", "LAB": "RGB"}.get(mode)
    image = (source.convert(via) if via else source).convert(mode)
    picture = from_pillow(image)
    assert len(picture.warnings) == 1
    assert np.array_equal(picture.pixels, np.asarray(image.convert("LA" if mode == "La" else "RGB").convert("RGB")))
    truth = np.asarray(source.convert("L").convert("RGB") if mode == "La" else source).astype(int)
    assert np.abs(picture.pixels - truth).mean() < 4
    assert picture.grey == (mode == "La")


def test_premultiplied_alpha_is_divided_out() -> None:
    image = Image.fromarray(np.array([[[200, 100, 50, 128]]], np.uint8)).convert("RGBa")
    picture = from_pillow(image)
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 128
    assert np.abs(picture.pixels[0, 0].astype(int) - [200, 100, 50]).max() <= 2


def test_bilevel_is_grey_0_and_255() -> None:
    image = photo().convert("1")
    picture = from_pillow(image)
    assert picture.grey
    assert picture.warnings == ()
    assert np.array_equal(picture.pixels[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255, 7])], ids=["opaque", "index", "bytes"])
@pytest.mark.parametrize("through", ["memory", "PNG"])
def test_palette(transparency: int | bytes | None, through: str) -> None:
    image = photo().quantize(16)
    if transparency is not None:
        image.info["transparency"] = transparency
    if through == "PNG":
        image = Image.open(io.BytesIO(saved(image, "PNG")))
    picture = from_pillow(image)
    index, palette = np.asarray(image), np.array(image.getpalette("RGB")).reshape(-1, 3)
    assert np.array_equal(picture.pixels, palette[index])
    assert not picture.grey
    assert picture.warnings == ()
    if transparency is None:
        assert picture.alpha is None
    else:
        table = np.full(256, 255)
        if isinstance(transparency, int):
            table[transparency] = 0
        else:
            table[: len(transparency)] = list(transparency)
        assert np.array_equal(picture.alpha, table[index])
    assert image.info.get("transparency") == transparency


def test_palette_with_alpha_band_and_rgba_palette() -> None:
    image = photo().quantize(8)
    pa = image.convert("PA")
    pa.putalpha(Image.new("L", image.size, 77))
    assert (from_pillow(pa).alpha == 77).all()
    image.putpalette(bytes([9, 8, 7, 6] * 8), "RGBA")
    picture = from_pillow(image)
    assert (picture.alpha == 6).all()
    assert (picture.pixels == [9, 8, 7]).all()


@pytest.mark.parametrize(("mode", "key"), [("L", 40), ("RGB", (1, 2, 3)), ("1", 255), ("I;16", 40)])
def test_transparent_colour_becomes_alpha(mode: str, key: int | tuple[int, int, int]) -> None:
    image = Image.new(mode, (5, 3), 0)
    image.putpixel((2, 1), key)
    image.info["transparency"] = key
    for made in (image, Image.open(io.BytesIO(saved(image, "PNG", transparency=key)))):
        picture = from_pillow(made)
        assert picture.alpha is not None
        assert np.argwhere(picture.alpha == 0).tolist() == [[1, 2]]
        assert picture.grey == (mode != "RGB")


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand; `rows` is filter byte + samples, `extra` whole chunks before the pixels."""
    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + extra
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_transparent_grey_of_2_bits_is_scaled_like_its_pixels() -> None:
    picture = read_picture(png(4, 1, 2, 0, b"\0\x1b", chunk(b"tRNS", b"\0\x02")))  # samples 0 1 2 3
    assert picture.pixels[0, :, 0].tolist() == [0, 85, 170, 255]
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [255, 255, 0, 255]


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_16_bit_grey_is_rounded(mode: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    order = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
    picture = from_pillow(Image.frombytes(mode, (7, 1), values.astype(order).tobytes()))
    assert picture.pixels[0, :, 0].tolist() == np.rint(values[0] / 257).tolist()
    assert picture.grey
    assert len(picture.warnings) == 1
    assert "16-bit" in picture.warnings[0]


def test_every_16_bit_value_of_a_png_is_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = read_picture(saved(Image.fromarray(values), "PNG"))
    assert np.array_equal(picture.pixels[..., 2], np.rint(values / 257))


def test_16_bit_pgm_that_is_dark_stays_dark() -> None:
    picture = read_picture(b"P5 2 1 65535\n" + struct.pack(">HH", 0, 255))
    assert picture.pixels[0, :, 0].tolist() == [0, 1]
    assert "16-bit" in picture.warnings[0]


def test_16_bit_colour_is_reported() -> None:
    rgb = b"\0" + struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF)
    picture = read_picture(png(1, 1, 16, 2, rgb))
    assert picture.pixels[0, 0].tolist() == [0x12, 0x80, 0xFF]
    assert picture.warnings == ("16-bit samples cut to 8 bits",)
    picture = read_picture(png(1, 1, 16, 4, b"\0" + struct.pack(">HH", 0x1234, 0x8000)))
    assert picture.grey
    assert picture.alpha is not None
    assert picture.warnings == ("16-bit samples cut to 8 bits",)
    picture = read_picture(b"P6 1 1 1023\n" + struct.pack(">HHH", 0, 512, 1023))
    assert picture.warnings == ("16-bit samples cut to 8 bits",)


@pytest.mark.parametrize(
    ("values", "expected", "word"),
    [
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255], "taken as"),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255], "16-bit"),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255], "stretched"),
        (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 128, 255], "stretched"),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255], "0..1"),
        (np.array([[0, 99.6, 255]], np.float32), [0, 100, 255], "taken as"),
        (np.array([[-1, 0, 3]], np.float32), [0, 64, 255], "stretched"),
        (np.array([[np.nan, np.inf, 1]], np.float32), [0, 255, 255], "0..1"),
        (np.full((1, 2), np.nan, np.float32), [0, 0], "0..1"),
    ],
)
def test_32_bit_samples(values: np.ndarray, expected: list[int], word: str) -> None:
    picture = from_pillow(Image.fromarray(values))
    assert picture.pixels[0, :, 0].tolist() == expected
    assert len(picture.warnings) == 1
    assert word in picture.warnings[0]
    assert picture.grey


def test_blocks_join_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo().convert("RGBA")
    whole = from_pillow(image)
    monkeypatch.setattr("vqcodec.image_pixels.BLOCK", 37)
    parts = from_pillow(image)
    assert np.array_equal(whole.pixels, parts.pixels)
    assert np.array_equal(whole.alpha, parts.alpha)
    stripped = strip(Picture(whole.pixels, icc=ADOBE_ICC))
    monkeypatch.undo()
    assert np.array_equal(stripped.pixels, strip(Picture(whole.pixels, icc=ADOBE_ICC)).pixels)


# Arrays and dispatch


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2), (4, 5, 3), (4, 5, 4)])
def test_arrays(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    picture = from_array(array)
    channels = shape[2] if len(shape) == 3 else 1
    assert picture.grey == (channels <= 2)
    assert np.array_equal(picture.pixels, array.reshape(4, 5, -1)[..., : 3 if channels > 2 else 1].repeat(
        1 if channels > 2 else 3, axis=2))  # fmt: skip
    first = int(picture.pixels[0, 0, 0])
    array ^= 255
    assert picture.pixels[0, 0, 0] == first


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5), np.float32),
        np.zeros((4, 5), np.uint16),
        np.zeros((4, 5, 5), np.uint8),
        np.zeros((4, 5, 0), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(UsageError, match="uint8"):
        from_array(array)


def test_as_picture_takes_what_holds_an_image(tmp_path: Path) -> None:
    array = noise(5, 4, 3)
    path = tmp_path / "a.png"
    Image.fromarray(array).save(path)
    picture = from_array(array)
    assert as_picture(picture) is picture
    for image in (array, Image.fromarray(array), path, str(path)):
        assert np.array_equal(as_picture(image).pixels, array)
    with pytest.raises(UsageError, match="not list"):
        as_picture([1, 2])  # type: ignore[arg-type]


def test_pictures_check_their_arrays() -> None:
    with pytest.raises(UsageError, match="pixels"):
        Picture(np.zeros((4, 5), np.uint8))
    with pytest.raises(UsageError, match="alpha"):
        Picture(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8))


# Orientation and metadata


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    exif[Base.Make] = "Camera"
    exif[IFD.Exif] = {Base.ISOSpeedRatings: 400}
    return exif


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


# Profiles


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


# Files


def test_animation_keeps_the_first_frame() -> None:
    frames = [Image.fromarray(noise(9, 7, 3, seed)).quantize(8) for seed in range(3)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture = read_picture(data)
    assert np.array_equal(picture.pixels, np.asarray(frames[0].convert("RGB")))
    assert picture.warnings == ("1 of 3 frames kept, 2 left out",)
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        assert np.array_equal(from_pillow(image).pixels, np.asarray(frames[1].convert("RGB")))
        assert image.tell() == 1


@pytest.mark.parametrize(
    "format", ["PNG", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "ICO", "DDS", "PCX", "SGI", "QOI", "JPEG2000", "WEBP"]
)
def test_formats_open(format: str) -> None:
    image = Image.fromarray(noise(16, 16, 3))
    options = {"lossless": True} if format == "WEBP" else {}
    picture = read_picture(saved(image.quantize(16) if format == "GIF" else image, format, **options))
    if format not in ("GIF",):
        assert np.array_equal(picture.pixels, np.asarray(image))
    assert picture.warnings == ()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_files_cut_anywhere_are_input_errors(format: str) -> None:
    data = saved(photo(), format)
    whole = read_picture(data)
    messages: list[str] = []
    for cut in [1, 2, 5, 9, 17, 30, *range(60, len(data) - 16, max(1, len(data) // 40))]:
        try:
            picture = read_picture(data[:cut])
        except InputError as exc:
            messages.append(str(exc))
        else:  # a format may end before its last bytes
            assert np.array_equal(picture.pixels, whole.pixels)
    assert len(messages) > 6
    assert all(message.startswith("<bytes>: ") and "\n" not in message for message in messages)


def test_damaged_files_end_in_our_errors() -> None:
    rng = np.random.default_rng(5)
    small = photo().resize((24, 16))
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "TGA", "ICO", "PCX", "JPEG2000"):
        data = saved(small, format)
        for _ in range(40):
            broken = bytearray(data)
            for at in rng.integers(0, min(len(data), 300), 4):
                broken[at] = rng.integers(256)
            try:
                read_picture(bytes(broken), max_pixels=10**6)
            except (InputError, LimitError):
                continue


def test_truncated_jpeg_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    data = saved(photo(), "JPEG")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"half\.jpg: damaged or truncated"):
        read_picture(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just some text\n" * 99, "not an image"),
        (b"%PDF-1.7\n" + b"x" * 99, "PDF files are not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript files are not read"),
        (b"8BPS" + b"\0" * 99, "PSD"),
        (b"SIMPLE  =                    T" + b" " * 99, "FITS"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "HEIF"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    for source in (path, str(path), content, io.BytesIO(content)):
        with pytest.raises(InputError, match=reason) as caught:
            read_picture(source)
        assert ("photo.png" if isinstance(source, str | Path) else "<bytes>") in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.png: cannot be read: No such file"):
        read_picture(tmp_path / "no.png")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_picture(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_picture("a\0b.png")


class Endless(io.RawIOBase):
    """A stream without an end, as `/dev/zero` on stdin would be."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def test_streams_are_read_once_and_left_open(tmp_path: Path) -> None:
    data = saved(Image.fromarray(noise(5, 4, 3)), "PNG")
    stream = io.BytesIO(data)
    assert read_picture(stream).width == 5
    assert not stream.closed
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert read_picture(pipe).width == 5
    with pytest.raises(LimitError, match="--max-pixels"):
        read_picture(Endless(), max_pixels=100)


def test_bombs_are_refused_by_their_header() -> None:
    start = time.perf_counter()
    with pytest.raises(LimitError, match="--max-pixels"):
        read_picture(png(60000, 60000, 8, 2, b"\0" * 99))
    with pytest.raises(LimitError, match="100 pixels"):
        read_picture(saved(Image.new("RGB", (101, 1)), "WEBP"), max_pixels=100)
    assert time.perf_counter() - start < 1
    assert read_picture(saved(Image.new("RGB", (10, 10)), "PNG"), max_pixels=100).n_pixels == 100
    for width in (11, 15, 51):
        with pytest.raises(LimitError, match="100 pixels"):
            read_picture(saved(Image.new("RGB", (width, 10)), "PNG"), max_pixels=100)


def test_pillow_limit_neither_blocks_nor_warns_nor_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = saved(Image.fromarray(noise(20, 10, 3)), "PNG")
    assert read_picture(data).n_pixels == 200
    assert read_picture(data, max_pixels=None).n_pixels == 200
    with pytest.raises(LimitError):
        read_picture(data, max_pixels=199)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert MAX_PIXELS == 268435456


def test_threads_do_not_disturb_each_other() -> None:
    before = Image.MAX_IMAGE_PIXELS
    small, large = (saved(Image.fromarray(noise(side, side, 3)), "PNG") for side in (10, 40))
    outcomes: list[str] = []

    def work(data: bytes) -> None:
        for _ in range(20):
            try:
                outcomes.append(str(read_picture(data, max_pixels=100).n_pixels))
            except LimitError:
                outcomes.append("limit")

    threads = [threading.Thread(target=work, args=(data,)) for data in (small, large) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["100"] * 40 + ["limit"] * 40
    assert before == Image.MAX_IMAGE_PIXELS


# Writing


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
def test_metadata_survives_writing(format: str) -> None:
    picture = Picture(np.asarray(photo()), **FULL)
    back = read_picture(write_picture(picture, format)[0])
    assert (back.icc, back.exif, back.xmp) == (picture.icc, picture.exif, picture.xmp)
    assert back.warnings == ()
    image = to_pillow(picture)
    assert (image.info["icc_profile"], image.info["exif"], image.info["xmp"]) == tuple(FULL.values())


def test_formats_say_what_they_lose() -> None:
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
    with pytest.raises(UsageError, match="jpg, png, ppm, webp"):
        write_picture(wide, "gif")


def test_writing_is_deterministic_and_reading_leaves_the_image_alone() -> None:
    image = photo()
    image.info.update(icc_profile=ADOBE_ICC, exif=exif_of(6).tobytes(), xmp=b'tiff:Orientation="6"')
    info, pixels = dict(image.info), image.tobytes()
    picture = from_pillow(image)
    assert (image.info, image.tobytes()) == (info, pixels)
    for format in ("png", "jpg", "webp", "ppm"):
        assert write_picture(picture, format) == write_picture(from_pillow(image), format)


def test_text_exif_of_imagemagick_png() -> None:
    exif = exif_of(6).tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    picture = read_picture(saved(Image.fromarray(noise(7, 5, 3)), "PNG", pnginfo=info))
    assert (picture.width, picture.height) == (5, 7)
    assert picture.exif is not None
    assert b"Camera" in picture.exif
