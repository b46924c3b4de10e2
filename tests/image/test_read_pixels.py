"""One reader of pixels for the codec, the trainer and the evaluation."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from vqcodec.errors import InputError, LimitError
from vqcodec.evaluation.pictures import read_pictures
from vqcodec.image import files
from vqcodec.image.colour import ADOBE, ADOBE_EXPONENT, profile
from vqcodec.image.files import as_picture, read_picture, read_pixels
from vqcodec.train.data.pictures import scan

from ..image_parts import noise, saved


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    return exif


SOURCES = {
    "orientation.jpg": saved(Image.fromarray(noise(31, 23, 3)), "JPEG", exif=turned(6)),
    "orientation.png": saved(Image.fromarray(noise(31, 23, 3)), "PNG", exif=turned(5)),
    "profile.jpg": saved(Image.fromarray(noise(31, 23, 3)), "JPEG", icc_profile=profile(ADOBE, ADOBE_EXPONENT)),
    "profile_webp.webp": saved(Image.fromarray(noise(31, 23, 3)), "WEBP", icc_profile=profile(ADOBE, ADOBE_EXPONENT)),
    "both.png": saved(
        Image.fromarray(noise(31, 23, 3)), "PNG", icc_profile=profile(ADOBE, ADOBE_EXPONENT), exif=turned(8)
    ),
    "cmyk.jpg": saved(Image.fromarray(noise(31, 23, 4), "CMYK"), "JPEG"),
    "grey.jpg": saved(Image.fromarray(noise(31, 23, 1)), "JPEG", exif=turned(3)),
    "alpha.png": saved(Image.fromarray(noise(31, 23, 4)), "PNG"),
    "palette.gif": saved(Image.fromarray(noise(31, 23, 3)).quantize(16), "GIF"),
    "sixteen.png": saved(Image.fromarray(noise(31, 23, 1).astype(np.uint16) * 257), "PNG"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in SOURCES.items():
        (tmp_path / name).write_bytes(data)
    gamma = saved(Image.fromarray(noise(31, 23, 3)), "PNG")  # a gAMA chunk of 1.0 after the 33 bytes of IHDR
    chunk = b"gAMA" + struct.pack(">I", 100_000)
    crc = struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "gamma.png").write_bytes(gamma[:33] + struct.pack(">I", 4) + chunk + crc + gamma[33:])
    return tmp_path


def test_codec_trainer_and_evaluation_read_the_same_pixels(folder: Path) -> None:
    trainer = {member.name: member.decode() for member in scan((str(folder),), 1, index=False).members}
    evaluation = {Path(name).name: pixels for name, pixels in read_pictures([folder])}
    assert set(trainer) == set(evaluation) == {*SOURCES, "gamma.png"}
    for name in trainer:
        codec = as_picture(folder / name).pixels
        np.testing.assert_array_equal(trainer[name], codec)
        np.testing.assert_array_equal(evaluation[name], codec)
    assert trainer["orientation.jpg"].shape == trainer["orientation.png"].shape == (31, 23, 3)
    with Image.open(folder / "orientation.jpg") as image:
        assert not np.array_equal(np.array(image.rotate(-90, expand=True)), np.array(image))
        np.testing.assert_array_equal(trainer["orientation.jpg"], np.array(image.rotate(-90, expand=True)))


def test_plain_files_do_not_wait_for_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of the trainer decode at the same time."""
    monkeypatch.setattr(files, "pillow_limits", None)
    for name in ("orientation.jpg", "orientation.png", "profile.jpg", "both.png", "grey.jpg"):
        read_pixels(folder / name)
    for name in ("profile_webp.webp", "cmyk.jpg", "alpha.png", "palette.gif", "sixteen.png", "gamma.png"):
        with pytest.raises(TypeError):
            read_pixels(folder / name)


def test_errors_are_those_of_the_reader_of_pictures(folder: Path) -> None:
    data = SOURCES["orientation.jpg"]
    stream = io.BytesIO(data[: len(data) // 2])
    stream.name = "cut.jpg"
    with pytest.raises(InputError, match=r"^cut\.jpg: damaged or truncated"):
        read_pixels(stream)
    with pytest.raises(LimitError, match="more than 712 pixels"):
        read_pixels(data, max_pixels=712)
    with pytest.raises(InputError, match=r"none\.jpg: cannot be read"):
        read_pixels(folder / "none.jpg")
    np.testing.assert_array_equal(read_pixels(data, max_pixels=713), read_picture(data).pixels)
