"""Pixels of any Pillow mode, or of an array, to a Picture and back."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import UsageError
from vqcodec.image.files import as_picture, read_picture
from vqcodec.image.picture import Picture, from_array, from_pillow, strip, to_pillow

from ..image_parts import ADOBE_ICC, SIZES, chunk, noise, photo, png, saved


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
    monkeypatch.setattr("vqcodec.image.pixels.BLOCK", 37)
    parts = from_pillow(image)
    assert np.array_equal(whole.pixels, parts.pixels)
    assert np.array_equal(whole.alpha, parts.alpha)
    stripped = strip(Picture(whole.pixels, icc=ADOBE_ICC))
    monkeypatch.undo()
    assert np.array_equal(stripped.pixels, strip(Picture(whole.pixels, icc=ADOBE_ICC)).pixels)


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


def test_types_that_as_picture_accepts(tmp_path: Path) -> None:
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
