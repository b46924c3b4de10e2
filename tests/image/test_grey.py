"""Grey pictures: the same file from one channel or three, never more bytes than colour, no tint after decoding."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
import vqcodec.pillow_plugin
from vqcodec.decoder import render
from vqcodec.geometry.rectangles import Rect
from vqcodec.image.files import read_picture, write_picture
from vqcodec.image.grey import average_channels, with_grey_found
from vqcodec.image.picture import from_array
from vqcodec.metrics import psnr
from vqcodec.models import loading

from ..commands import Invoke, opened
from ..image_parts import ADOBE_ICC, SRGB_ICC, noise, saved


def tripled(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, -1)


@pytest.fixture(scope="module")
def grey(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo.convert("L").resize((96, 72)))


@pytest.mark.parametrize("options", [{}, {"quality": 30}, {"keep": 2}, {"max_bytes": 900}, {"effort": 3}])
def test_three_equal_channels_give_the_file_of_one(tiny_model: str, grey: np.ndarray, options: dict[str, int]) -> None:
    data = vqcodec.encode(grey, tiny_model, **options)  # type: ignore[arg-type]
    assert vqcodec.encode(tripled(grey), tiny_model, **options) == data  # type: ignore[arg-type]
    assert vqcodec.inspect(data).grey
    decoded = vqcodec.decode(data)
    assert decoded.mode == "L"
    assert np.array_equal(np.asarray(vqcodec.detokenize(vqcodec.tokenize(tripled(grey), tiny_model))), decode_all(grey))


def decode_all(grey: np.ndarray) -> np.ndarray:
    return np.asarray(vqcodec.detokenize(vqcodec.tokenize(grey, "tiny")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_colour_files_of_grey_pictures(tmp_path: Path, tiny_model: str, grey: np.ndarray, format: str) -> None:
    path = tmp_path / "x"
    Image.fromarray(tripled(grey)).save(path, format, **({"lossless": True} if format == "WEBP" else {}))
    assert not read_picture(path).grey
    assert vqcodec.decode(vqcodec.encode(path, tiny_model)).mode == "L"


def test_hidden_colour_does_not_count(tiny_model: str, grey: np.ndarray) -> None:
    rgba = np.dstack([tripled(grey), np.where(np.arange(96) < 50, 255, 0).astype(np.uint8)[None].repeat(72, 0)])
    coloured = rgba.copy()
    coloured[rgba[..., 3] == 0, :3] = (255, 0, 0)
    assert vqcodec.encode(coloured, tiny_model) == vqcodec.encode(rgba, tiny_model)
    assert vqcodec.decode(vqcodec.encode(rgba, tiny_model)).mode == "LA"
    rgba[..., 3] = 0
    assert vqcodec.decode(vqcodec.encode(rgba, tiny_model)).mode == "RGBA"


def test_one_coloured_pixel_is_colour(tiny_model: str) -> None:
    for channel in range(3):
        array = tripled(noise(70, 50, 1))
        array[-1, -1, channel] ^= 1
        assert not with_grey_found(from_array(array)).grey
        assert vqcodec.decode(vqcodec.encode(array, tiny_model)).mode == "RGB"


@pytest.mark.parametrize("icc", [SRGB_ICC, ADOBE_ICC], ids=["sRGB", "Adobe RGB"])
@pytest.mark.parametrize("alpha", [False, True])
def test_profiles_for_rgb_stay_and_keep_three_channels(
    work: Path, invoke: Invoke, tiny_model: str, grey: np.ndarray, icc: bytes, alpha: bool
) -> None:
    array = np.dstack([tripled(grey), grey]) if alpha else tripled(grey)
    Image.fromarray(array).save("g.png", icc_profile=icc)
    assert invoke("encode", "g.png", "-m", tiny_model)[0] == 0
    assert invoke("decode", "g.vqc", "-o", "back.png")[0] == 0
    data = Path("g.vqc").read_bytes()
    for image in (opened("back.png"), vqcodec.decode(data), opened("g.vqc")):
        assert image.mode == ("RGBA" if alpha else "RGB")
        assert image.info["icc_profile"] == icc
        shown = np.asarray(image)[..., :3]
        assert (shown == shown[..., :1]).all()
    for format in ("jpg", "webp", "ppm"):
        written = Image.open(io.BytesIO(write_picture(read_picture("back.png"), format)[0]))
        assert written.size == (96, 72)


def test_a_tint_of_the_decoder_is_removed(tiny_model: str, grey: np.ndarray) -> None:
    tokens = vqcodec.tokenize(grey, tiny_model)
    shown = render(tokens, loading.load_model(tiny_model), Rect(0, 72, 0, 96)).pixels
    assert (shown == shown[..., :1]).all()
    raw = noise(31, 17, 3)
    mean = np.rint(raw.mean(-1)).astype(np.uint8)
    average_channels(raw)
    assert np.array_equal(raw, tripled(mean))


@pytest.mark.slow
@pytest.mark.parametrize("quality", [30, 70])
def test_bundled_models_spend_no_more_on_grey_than_on_colour(photo: Image.Image, quality: int) -> None:
    """Without refinement, whose result is a better picture of other size; refinement serves what is shown."""
    grey = np.asarray(photo.convert("L"))
    small = vqcodec.encode(grey, quality=quality)
    assert vqcodec.encode(tripled(grey), quality=quality) == small
    plain = vqcodec.encode(grey, quality=quality, effort=5)
    assert len(plain) <= len(vqcodec.encode(photo, quality=quality, effort=5))
    files = [vqcodec.encode(grey, "product-vq", quality=quality, effort=effort) for effort in (5, 6)]
    gained = [psnr(tripled(grey), tripled(np.asarray(vqcodec.decode(data)))) for data in files]
    assert gained[1] > gained[0]


def test_grey_with_alpha_and_exif_is_written(tiny_model: str, grey: np.ndarray) -> None:
    rgba = np.dstack([tripled(grey), 255 - grey])
    data = vqcodec.encode(Image.open(io.BytesIO(saved(Image.fromarray(rgba), "PNG", dpi=(300, 300)))), tiny_model)
    image = vqcodec.decode(data)
    assert (image.mode, round(image.info["dpi"][0])) == ("LA", 300)
    assert np.array_equal(np.asarray(image)[..., 1], 255 - grey)
