"""Colour that files state without an ICC profile: converted, kept as a profile, or named in a warning."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.ExifTags import IFD

from vqcodec.image.colour import ADOBE, H273_PRIMARIES, profile, to_srgb_table
from vqcodec.image.files import read_picture, write_picture
from vqcodec.image.picture import Picture, from_pillow, strip

from ..image_parts import SRGB_ICC, chunk, noise, photo, png, saved

Pixels = np.ndarray
P3 = H273_PRIMARIES[12]
SRGB_LIGHT = np.where(
    np.arange(256) <= 10, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
)


def stated_png(pixels: Pixels, *chunks: bytes) -> bytes:
    """A PNG of uint8 or uint16 [H, W] or [H, W, 3] with these chunks before its pixels."""
    depth, colour = 8 * pixels.itemsize, 2 if pixels.ndim == 3 else 0
    rows = pixels.astype(">u2") if depth == 16 else pixels
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(pixels.shape[1], pixels.shape[0], depth, colour, body, b"".join(chunks))


def gama(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


def chrm(primaries: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in primaries)))


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


SRGB_CHUNK = chunk(b"sRGB", b"\0")


@pytest.fixture(scope="module")
def scene() -> Pixels:
    return np.asarray(photo())


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("form", [gama(1.0), gama(1 / 1.8), cicp(1, 8)], ids=["linear", "mac", "cicp"])
@pytest.mark.parametrize("grey", [False, True])
def test_tone_curves_are_converted(scene: Pixels, depth: int, form: bytes, grey: bool) -> None:
    scene = scene[..., 1] if grey else scene
    exponent = 1.8 if form == gama(1 / 1.8) else 1.0
    most = 2**depth - 1
    samples = np.rint(SRGB_LIGHT[scene] ** (1 / exponent) * most).astype(np.uint8 if depth == 8 else np.uint16)
    picture = read_picture(stated_png(samples, form))
    shown = picture.pixels[..., 0] if grey else picture.pixels
    assert abs(shown.mean() - scene.mean()) <= 2
    assert np.abs(shown.astype(int) - scene)[scene > 60].max() <= 4
    assert picture.icc is None
    assert sum("tone curve" in text for text in picture.warnings) == 1


@pytest.mark.parametrize("kind", ["grey", "RGB", "RGBA"])
def test_dark_samples_of_16_bits_keep_their_levels(kind: str) -> None:
    """Linear light has few 8-bit levels in the shadows: the curve is applied before samples are cut to 8 bits."""
    shown = np.arange(256, dtype=np.uint8)[None].repeat(2, 0)
    linear = np.rint(SRGB_LIGHT[shown] * 65535).astype(np.uint16)
    samples = linear if kind == "grey" else np.stack([linear] * 3, -1)
    data = stated_png(samples, gama(1.0))
    if kind == "RGBA":
        rows = b"".join(b"\0" + np.dstack([row[None], row[None, :, :1]]).astype(">u2").tobytes() for row in samples)
        data = png(256, 2, 16, 6, rows, gama(1.0))
    picture = read_picture(data)
    assert np.abs(picture.pixels[..., 0].astype(int) - shown).max() <= 1
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pillow(image).pixels, picture.pixels)
    if kind == "RGBA":
        assert np.array_equal(picture.alpha, linear >> 8)


@pytest.mark.parametrize(
    "chunks",
    [(gama(0.45455),), (gama(1.0), SRGB_CHUNK), (chrm((0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)),),
     (cicp(1, 13),), (cicp(1, 1), gama(1.0)), (gama(0),), (gama(0.02),)],
)  # fmt: skip
def test_srgb_and_unstated_colour_are_unchanged(scene: Pixels, chunks: tuple[bytes, ...]) -> None:
    picture = read_picture(stated_png(scene, *chunks))
    assert np.array_equal(picture.pixels, scene)
    assert (picture.icc, picture.warnings) == (None, ())


def test_profiles_take_precedence_over_gamma_and_chromaticities(scene: Pixels) -> None:
    data = saved(Image.fromarray(scene), "PNG", icc_profile=SRGB_ICC)
    place = data.index(b"IDAT") - 4
    picture = read_picture(data[:place] + gama(1.0) + chrm(P3) + data[place:])
    assert np.array_equal(picture.pixels, scene)
    assert (picture.icc, picture.warnings) == (SRGB_ICC, ())


@pytest.mark.parametrize("form", [chrm(P3), cicp(12, 13), cicp(9, 13), chrm(ADOBE) + gama(1 / 2.2)])
def test_other_primaries_become_a_profile(scene: Pixels, form: bytes) -> None:
    picture = read_picture(stated_png(scene, form))
    assert np.array_equal(picture.pixels, scene)
    assert picture.icc is not None
    assert len(picture.icc) < 700
    again = read_picture(write_picture(picture, "png")[0])
    assert again.icc == picture.icc
    red = Picture(np.full((1, 1, 3), [180, 60, 60], np.uint8), icc=picture.icc)
    assert strip(red).pixels[0, 0, 0] > 182  # a wider gamut: the same numbers are more saturated


def test_profiles_have_the_colours_of_their_chromaticities() -> None:
    srgb = ImageCms.createProfile("sRGB")
    grey = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1))
    for primaries in (*H273_PRIMARIES.values(), ADOBE):
        made = ImageCms.ImageCmsProfile(io.BytesIO(profile(primaries, 2.2)))
        shown = ImageCms.profileToProfile(grey, made, srgb)
        assert shown is not None
        spread = np.asarray(shown).astype(int)
        assert (spread.max(-1) - spread.min(-1)).max() <= 2  # white stays white
        if primaries != ADOBE:
            assert np.abs(spread[0, :, 1] - np.arange(256)).max() <= 3
    assert to_srgb_table(1.0)[55] == 128


@pytest.mark.parametrize("values", [(0.3, 0, 0.6, 0.3, 0.3, 0.6, 0.1, 0.1), (0.3, 0.3) * 4, (0.3,) * 8])
def test_invalid_chromaticities_are_ignored_with_a_warning(scene: Pixels, values: tuple[float, ...]) -> None:
    picture = read_picture(stated_png(scene, chrm(values)))
    assert np.array_equal(picture.pixels, scene)
    assert picture.icc is None
    assert "chromaticities" in picture.warnings[0]


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_named(scene: Pixels, transfer: int, name: str) -> None:
    picture = read_picture(stated_png(scene, cicp(9, transfer)))
    assert len(picture.warnings) == 1
    assert f"HDR ({name})" in picture.warnings[0]
    avif = bytearray(saved(Image.fromarray(scene), "AVIF"))
    place = avif.index(b"colrnclx") + 8
    avif[place : place + 4] = struct.pack(">HH", 9, transfer)
    assert any("HDR" in text for text in read_picture(bytes(avif)).warnings)


def test_chromaticities_of_a_tiff(scene: Pixels) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[318], tags[319] = P3[:2], P3[2:]
    tags.tagtype[318] = tags.tagtype[319] = 5
    picture = read_picture(saved(Image.fromarray(scene), "TIFF", tiffinfo=tags))
    assert np.array_equal(picture.pixels, scene)
    assert picture.icc is not None


def test_cmyk_and_lab_are_not_converted_twice(scene: Pixels) -> None:
    image = Image.fromarray(scene).convert("CMYK")
    plain = from_pillow(image)
    image.info["gamma"] = 1.0
    assert np.array_equal(from_pillow(image).pixels, plain.pixels)


def test_loaded_pictures_keep_their_gamma(scene: Pixels) -> None:
    with Image.open(io.BytesIO(stated_png(scene, gama(1.0)))) as image:
        image.load()
    assert any("tone curve" in text for text in from_pillow(image).warnings)


def exif_saying(space: int | None, index: str | None = None) -> bytes:
    exif = Image.Exif()
    inner: dict[int, object] = {} if space is None else {0xA001: space}
    if index is not None:
        inner[0xA005] = {1: index}
    exif[IFD.Exif] = inner
    return exif.tobytes()


@pytest.mark.parametrize(
    ("exif", "xmp"),
    [
        (exif_saying(65535, "R03"), None),
        (exif_saying(2), None),
        (exif_saying(1), b'<rdf:Description photoshop:ICCProfile="Adobe RGB (1998)"/>'),
    ],
)
def test_strip_converts_adobe_rgb_named_by_metadata_alone(exif: bytes, xmp: bytes | None) -> None:
    picture = Picture(np.full((2, 2, 3), [60, 180, 60], np.uint8), exif=exif, xmp=xmp)
    stripped = strip(picture)
    assert stripped.exif is None
    assert stripped.warnings == ()
    assert stripped.pixels[0, 0, 0] < 20  # a green that sRGB shows as more saturated
    known = strip(Picture(picture.pixels, icc=profile(ADOBE, 563 / 256)))
    assert np.array_equal(stripped.pixels, known.pixels)
    data = saved(Image.fromarray(picture.pixels), "JPEG", exif=exif, quality=95)
    assert np.array_equal(strip(read_picture(data)).pixels, read_picture(data).pixels) == (xmp is not None)


def test_strip_warns_of_an_unknown_space_and_not_of_srgb() -> None:
    pixels = noise(4, 3, 3)
    unknown = strip(Picture(pixels, exif=exif_saying(65535)))
    assert np.array_equal(unknown.pixels, pixels)
    assert "uncalibrated" in unknown.warnings[0]
    for exif in (exif_saying(1), exif_saying(None), b"Exif\0\0II*\0junk", None):
        plain = strip(Picture(pixels, exif=exif))
        assert np.array_equal(plain.pixels, pixels)
        assert plain.warnings == ()


GIVEN = Path(__file__).parents[3] / "shared" / "faults" / "inputs"


@pytest.mark.skipif(not GIVEN.is_dir(), reason="the given inputs are not installed next to this checkout")
@pytest.mark.parametrize("name", ["gama1.png", "gama1_8bit.png"])
def test_given_inputs(name: str) -> None:
    assert abs(read_picture(GIVEN / name).pixels.mean() - 132.6) <= 2
