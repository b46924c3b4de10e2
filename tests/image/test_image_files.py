"""Files and streams: animations, formats, damage, bombs, threads."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import InputError, LimitError
from vqcodec.image.files import read_picture
from vqcodec.image.limits import MAX_PIXELS
from vqcodec.image.picture import from_pillow

from ..image_parts import noise, photo, png, saved


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


def test_damaged_files_raise_vqcodec_errors() -> None:
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
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "HEIC"),
    ],
)
def test_files_that_are_no_image_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
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


def test_pillows_own_limit_has_no_effect_and_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
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
