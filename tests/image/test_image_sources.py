"""Files that Pillow reads wrongly or not at all: long text, 16-bit keys, white at zero, raw, thumbnails."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import Base

import vqcodec
from vqcodec.container.chunks import MAX_CHUNK_BYTES
from vqcodec.errors import InputError
from vqcodec.image.files import read_picture, write_picture
from vqcodec.image.picture import from_pillow

from ..commands import Invoke
from ..image_parts import SRGB_ICC, chunk, exif_of, noise, png, saved

XMP = b"XML:com.adobe.xmp"
GIVEN = Path(__file__).parents[3] / "shared" / "faults" / "inputs"
needs_inputs = pytest.mark.skipif(not GIVEN.is_dir(), reason="the given inputs are not installed next to this checkout")


def with_chunks(pixels: np.ndarray, *chunks: bytes, after: bytes = b"") -> bytes:
    body = b"".join(b"\0" + row.tobytes() for row in pixels)
    data = png(pixels.shape[1], pixels.shape[0], 8, 2, body, b"".join(chunks))
    end = data.index(b"IEND") - 4
    return data[:end] + after + data[end:]


def itxt(name: bytes, text: bytes) -> bytes:
    return chunk(b"iTXt", name + b"\0\1\0\0\0" + zlib.compress(text))


def ztxt(name: bytes, text: bytes) -> bytes:
    return chunk(b"zTXt", name + b"\0\0" + zlib.compress(text))


def long_profile(size: int) -> bytes:
    """An sRGB profile followed by zeros."""
    return struct.pack(">I", size) + SRGB_ICC[4:] + bytes(size - len(SRGB_ICC))


# --- long compressed chunks ---


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_200_000, 3_000_000, MAX_CHUNK_BYTES])
def test_long_profiles_and_text_are_read(size: int) -> None:
    pixels, icc, xmp = noise(7, 5, 3), long_profile(size), b"<x>" + b" " * (size - 7) + b"</x>"
    picture = read_picture(
        with_chunks(pixels, chunk(b"iCCP", b"p\0\0" + zlib.compress(icc)), itxt(XMP, xmp), ztxt(b"Comment", xmp))
    )
    assert np.array_equal(picture.pixels, pixels)
    assert (picture.icc, picture.xmp) == (icc, xmp)
    assert picture.warnings == ("text left out: Comment",)
    again = read_picture(write_picture(picture, "png")[0])
    assert (again.icc, again.xmp) == (icc, xmp)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_long_data_is_dropped_with_one_warning(kind: str, place: str) -> None:
    text = bytes(MAX_CHUNK_BYTES + 1)
    made = {
        "zTXt": ztxt(b"Comment", text),
        "iTXt": itxt(XMP, text),
        "iCCP": chunk(b"iCCP", b"p\0\0" + zlib.compress(text)),
    }
    if (kind, place) == ("iCCP", "after"):
        pytest.skip("a profile after the pixels is no PNG")
    pixels = noise(7, 5, 3)
    other = itxt(XMP, b"<kept/>") if kind != "iTXt" else b""
    data = with_chunks(pixels, other, made[kind]) if place == "before" else with_chunks(pixels, other, after=made[kind])
    picture = read_picture(data)
    assert np.array_equal(picture.pixels, pixels)
    assert len(picture.warnings) == 1
    assert "dropped" in picture.warnings[0]
    assert picture.xmp == (b"<kept/>" if other else None)


def test_many_long_texts_together() -> None:
    text = bytes(12_000_000)
    picture = read_picture(with_chunks(noise(7, 5, 3), *(ztxt(b"c%d" % i, text) for i in range(7))))
    assert any("dropped" in text for text in picture.warnings)


def test_limits_of_pillow_are_restored() -> None:
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    read_picture(saved(Image.new("RGB", (3, 2)), "PNG"))
    with pytest.raises(InputError):
        read_picture(b"junk")
    assert before == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_long_metadata_of_any_size_go_through_a_file(work: Path, invoke: Invoke, tiny_model: str) -> None:
    Image.fromarray(noise(32, 32, 3)).save("a.jpg", icc_profile=long_profile(1_500_000))
    for call in (
        ("encode", "a.jpg", "-m", tiny_model),
        ("decode", "a.vqc"),
        ("encode", "a.png", "-f", "-m", tiny_model),
    ):
        code, _, err = invoke(*call)
        assert code == 0, err
    assert vqcodec.decode(Path("a.vqc").read_bytes()).info["icc_profile"] == long_profile(1_500_000)


# --- transparent colour of 16-bit samples ---


def deep_png(samples: np.ndarray, key: tuple[int, ...]) -> bytes:
    """A 16-bit RGB PNG of uint16 [H, W, 3] with a transparent colour."""
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(samples.shape[1], samples.shape[0], 16, 2, body, chunk(b"tRNS", struct.pack(">3H", *key)))


@pytest.mark.parametrize("key", [(0x8040,) * 3, (0x0001, 0x0203, 0xFFFE), (0, 0, 0)])
def test_neighbours_of_a_16_bit_key_stay_opaque(key: tuple[int, int, int]) -> None:
    samples = np.full((4, 8, 3), 0x1234, np.uint16)
    samples[:, :3] = key
    samples[:, 5:] = np.array(key) ^ (0, 0, 1)
    picture = read_picture(deep_png(samples, key))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 0, 0, 255, 255, 255, 255, 255]] * 4
    assert picture.pixels[0, 0].tolist() == [value >> 8 for value in key]
    with Image.open(io.BytesIO(deep_png(samples, key))) as image:
        assert np.array_equal(from_pillow(image).alpha, picture.alpha)


def test_a_16_bit_key_without_its_file() -> None:
    samples = np.full((2, 2, 3), 0x8040, np.uint16)
    with Image.open(io.BytesIO(deep_png(samples, (0x8040,) * 3))) as image:
        image.load()
    picture = from_pillow(image)
    assert picture.alpha is None
    assert "transparent colour" in picture.warnings[0]


# --- white at zero ---


def grey_tiff(samples: np.ndarray, white_at_zero: bool) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    image = Image.fromarray(samples)
    data = bytearray(saved(image, "TIFF", tiffinfo=tags))
    order = "<" if data[:2] == b"II" else ">"
    entry = data.index(struct.pack(order + "HHI", Base.PhotometricInterpretation, 3, 1))
    struct.pack_into(order + "H", data, entry + 8, 0 if white_at_zero else 1)
    return bytes(data)


@pytest.mark.parametrize(
    "samples",
    [
        np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(4, 0),
        np.linspace(0, 1, 64).astype(np.float32)[None].repeat(4, 0),
        np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(4, 0),
    ],
    ids=["16 bit", "float", "8 bit"],
)
def test_white_at_zero_is_inverted(samples: np.ndarray) -> None:
    white = read_picture(grey_tiff(samples, True))
    black = read_picture(grey_tiff(samples, False))
    assert (white.pixels[0, 0, 0], white.pixels[-1, -1, 0]) == (255, 0)
    assert (black.pixels[0, 0, 0], black.pixels[-1, -1, 0]) == (0, 255)
    assert np.array_equal(white.pixels, 255 - black.pixels)


@pytest.mark.parametrize("kind", [np.int32, ">u2"], ids=["32 bit", "16 bit, big-endian"])
def test_white_at_zero_that_pillow_does_not_read_is_refused(kind: type) -> None:
    samples = np.linspace(0, 65535, 64).astype(kind)[None].repeat(4, 0)
    assert read_picture(grey_tiff(samples, False)).pixels[0, -1, 0] == 255
    with pytest.raises(InputError, match="a kind of TIFF that is not read"):
        read_picture(grey_tiff(samples, True))


# --- camera raw, and thumbnails first ---


def tiff(
    pages: list[tuple[np.ndarray, dict[int, int | bytes]]], sub: np.ndarray | None = None, mark: bytes = b""
) -> bytes:
    """A TIFF of RGB pages with further tags (LONG or BYTE); `sub` lies in a SubIFD of the first."""
    out = bytearray(b"II*\0" + bytes(4) + mark.ljust(8, b"\0"))
    link = 4
    subs = []
    for pixels, extra in ([] if sub is None else [(sub, {})]) + pages:
        height, width = pixels.shape[:2]
        place = len(out)
        out += pixels.tobytes()
        bits = len(out)
        out += struct.pack("<3H", 8, 8, 8) + bytes(2)
        entries: list[tuple[int, int, int, bytes]] = [
            (256, 4, 1, struct.pack("<I", width)), (257, 4, 1, struct.pack("<I", height)),
            (258, 3, 3, struct.pack("<I", bits)), (259, 3, 1, struct.pack("<I", 1)), (262, 3, 1, struct.pack("<I", 2)),
            (273, 4, 1, struct.pack("<I", place)), (277, 3, 1, struct.pack("<I", 3)),
            (278, 4, 1, struct.pack("<I", height)), (279, 4, 1, struct.pack("<I", pixels.size)),
        ]  # fmt: skip
        if subs:
            entries.append((330, 4, 1, struct.pack("<I", subs.pop())))
        for tag, value in extra.items():
            is_bytes = isinstance(value, bytes)
            entries.append((tag, 1, 4, value) if is_bytes else (tag, 4, 1, struct.pack("<I", value)))  # type: ignore[arg-type]
        directory = len(out)
        out += struct.pack("<H", len(entries))
        for tag, kind, count, data in sorted(entries):
            out += struct.pack("<HHI", tag, kind, count) + data
        if sub is not None and pixels is sub:
            subs.append(directory)
        else:
            struct.pack_into("<I", out, link, directory)
            link = len(out)
        out += bytes(4)
    return bytes(out)


THUMB, FULL = noise(16, 10, 3), noise(48, 32, 3, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiff([(THUMB, {254: 1, 50706: b"\1\4\0\0"})], FULL),
        lambda: tiff([(FULL, {50706: b"\1\4\0\0"})]),
        lambda: tiff([(THUMB, {254: 1})], FULL),
        lambda: tiff([(FULL, {})], mark=b"CR\2\0"),
        lambda: b"IIU\0" + bytes(100),
        lambda: b"FUJIFILMCCD-RAW 0201" + bytes(100),
    ],
    ids=["DNG", "DNG without thumbnail", "NEF", "CR2", "RW2", "RAF"],
)
def test_camera_raw_is_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(InputError, match="camera raw files are not read"):
        read_picture(make())


def test_opened_raw_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(tiff([(THUMB, {254: 1, 50706: b"\1\4\0\0"})], FULL))
    with Image.open(path) as image, pytest.raises(InputError, match=r"a\.dng: camera raw"):
        from_pillow(image)


def test_a_thumbnail_before_the_picture_is_skipped() -> None:
    data = tiff([(THUMB, {254: 1}), (FULL, {})])
    picture = read_picture(data)
    assert np.array_equal(picture.pixels, FULL)
    assert len(picture.warnings) == 1
    assert "thumbnail" in picture.warnings[0]
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pillow(image).pixels, FULL)
        assert image.tell() == 0
        image.seek(1)
        assert np.array_equal(from_pillow(image).pixels, FULL)


def test_first_pages_that_are_no_thumbnails_are_kept() -> None:
    picture = read_picture(tiff([(FULL, {254: 2}), (THUMB, {254: 2})]))
    assert np.array_equal(picture.pixels, FULL)
    assert picture.warnings == ("1 of 2 frames kept, 1 left out",)
    alone = read_picture(tiff([(THUMB, {254: 1})]))
    assert np.array_equal(alone.pixels, THUMB)
    assert "thumbnail" in alone.warnings[0]


# --- orientation that the decoder has applied ---


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("rebuilt", [False, True])
def test_jpeg_xl_is_rotated_only_as_a_rebuilt_jpeg(orientation: int, rebuilt: bool) -> None:
    image = Image.fromarray(noise(7, 5, 3))
    image.format = "JXL"
    image.jpeg = rebuilt  # type: ignore[attr-defined]
    image.info["exif"] = exif_of(orientation).tobytes()
    picture = from_pillow(image)
    image.getexif()[Base.Orientation] = orientation
    expected = ImageOps.exif_transpose(image) if rebuilt else image
    assert np.array_equal(picture.pixels, np.asarray(expected))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[Base.Orientation] == 1


@needs_inputs
def test_given_jpeg_xl() -> None:
    pytest.importorskip("pillow_jxl", reason="JPEG XL is read by a plugin")
    picture = read_picture(GIVEN / "orient6.jxl")
    assert (picture.width, picture.height) == (64, 96)


@needs_inputs
@pytest.mark.parametrize("name", ["icc_huge.png", "xmp_long_ztxt.png"])
def test_given_long_chunks(name: str) -> None:
    assert read_picture(GIVEN / name).warnings == ()


@needs_inputs
def test_given_inputs_of_other_kinds() -> None:
    with pytest.raises(InputError, match="camera raw"):
        read_picture(GIVEN / "raw.dng")
    white = read_picture(GIVEN / "tiff8_miniswhite.tif").pixels
    assert (white[0, 0, 0], white[-1, -1, 0]) == (255, 0)
    keyed = read_picture(GIVEN / "grey16_trns_near.png")
    assert keyed.alpha is not None
    assert (keyed.alpha[0, 0], keyed.alpha[0, -1]) == (0, 255)
    assert read_picture(GIVEN / "mpo_plain.jpg").warnings == ("1 of 2 frames kept, 1 left out",)
    assert read_picture(GIVEN / "anim.gif").warnings == ("1 of 3 frames kept, 2 left out",)


# --- closed images ---


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_a_closed_image_is_not_called_damaged(tmp_path: Path, tiny_model: str, format: str) -> None:
    path = tmp_path / "a"
    Image.fromarray(noise(20, 16, 3)).save(path, format)
    with Image.open(path) as image:
        pass
    with pytest.raises(InputError, match="the image is closed"):
        vqcodec.encode(image, tiny_model)
    loaded = Image.open(path)
    loaded.load()
    loaded.close()
    with pytest.raises(InputError, match="the image is closed"):
        vqcodec.encode(loaded, tiny_model)
    with open(path, "rb") as file:
        image = Image.open(file)
    with pytest.raises(InputError, match="the image is closed"):
        vqcodec.encode(image, tiny_model)
    with Image.open(path) as image:
        image.load()
    assert vqcodec.encode(image, tiny_model)
