"""Image.open and image.save for .vqc, with the behaviour of Pillow's own plugins."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import vqcodec
import vqcodec.pillow_plugin
from vqcodec.errors import UsageError


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "none"))


def saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "VQC", model="tiny", **options)
    return out.getvalue()


def metadata(data: bytes) -> dict[str, object]:
    with Image.open(io.BytesIO(data)) as image:
        return {key: value for key, value in image.info.items() if key != "vqcodec"}


def test_open_reads_the_head(tiny_vqc: bytes, no_model: None) -> None:
    with Image.open(io.BytesIO(tiny_vqc)) as image:
        assert (image.format, image.size, image.mode) == ("VQC", (200, 150), "RGB")
        assert image.get_format_mimetype() == "image/x-vqc"
        assert image.info["vqcodec"]["layers"] == 4
        with pytest.raises(OSError, match="not installed"):
            image.load()


def test_pixels_are_those_of_decode(tiny_vqc: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.vqc"
    path.write_bytes(tiny_vqc)
    expected = np.asarray(vqcodec.decode(tiny_vqc))
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), expected)
        assert np.array_equal(np.asarray(image.crop((5, 6, 40, 50))), expected[6:50, 5:40])
        image.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) == (1, 2, 3)
    stream = io.BytesIO(tiny_vqc)
    with Image.open(stream) as image:
        assert np.array_equal(np.asarray(image), expected)
    assert not stream.closed  # it belongs to the caller


def test_loaded_files_outlive_their_file(tiny_vqc: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.vqc"
    path.write_bytes(tiny_vqc)
    image = Image.open(path)
    image.load()
    path.unlink()
    assert image.convert("L").resize((10, 10)).size == (10, 10)
    with Image.open(io.BytesIO(tiny_vqc)) as unloaded:
        pass
    with pytest.raises(ValueError, match="closed"):
        unloaded.load()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_modes(photo: Image.Image, tiny_model: str, mode: str) -> None:
    picture = photo.convert(mode)
    if "A" in mode:
        picture.putalpha(photo.convert("L"))
    with Image.open(io.BytesIO(saved(picture))) as image:
        assert (image.mode, image.size) == (mode, photo.size)
        image.load()
        assert image.mode == mode
        if "A" in mode:
            assert np.array_equal(np.asarray(image.getchannel("A")), np.asarray(photo.convert("L")))


@pytest.mark.filterwarnings("ignore::vqcodec.LossWarning")
def test_other_modes_are_converted(photo: Image.Image, tiny_model: str) -> None:
    for mode, expected in (("P", "RGB"), ("1", "L"), ("CMYK", "RGB"), ("I;16", "L")):
        with Image.open(io.BytesIO(saved(photo.convert("L" if mode == "I;16" else "RGB").convert(mode)))) as image:
            assert image.mode == expected


def test_save_options(photo: Image.Image, tiny_vqc: bytes, tmp_path: Path) -> None:
    photo.save(tmp_path / "x.vqc", model="tiny")
    assert (tmp_path / "x.vqc").read_bytes() == tiny_vqc
    assert saved(photo, keep=2) == vqcodec.encode(photo, "tiny", keep=2)
    assert saved(photo, quality=1) == vqcodec.encode(photo, "tiny", keep=1)
    assert len(saved(photo, max_bytes=200)) <= 200


def test_failed_saves_leave_no_file(photo: Image.Image, tiny_model: str, tmp_path: Path) -> None:
    path = tmp_path / "x.vqc"
    for options, error in (
        ({"quality": 0}, UsageError),
        ({"quality": 0}, ValueError),
        ({"keep": 1, "quality": 5}, ValueError),
        ({"max_bytes": 10}, OSError),
        ({"model": "nope"}, OSError),
    ):
        with pytest.raises(error):
            photo.save(path, **({"model": "tiny"} | options))
        assert not path.exists()


def test_metadata_from_info_and_from_keywords(photo: Image.Image, tiny_model: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    given = {"icc_profile": srgb, "exif": exif, "xmp": xmp}
    assert metadata(saved(photo)) == {}
    found = metadata(saved(photo, **given))
    assert found == {"icc_profile": srgb, "exif": exif.tobytes(), "xmp": xmp}
    with Image.open(io.BytesIO(saved(photo, **given))) as image:
        assert image.getexif()[0x010E] == "a cat"
        assert metadata(saved(image)) == found
        assert metadata(saved(image, exif=None, icc_profile=b"", xmp=b"<other/>")) == {"xmp": b"<other/>"}
        assert metadata(saved(image, strip=True)) == {}
        assert image.info["exif"] == exif.tobytes()
    source = photo.copy()
    source.info["XML:com.adobe.xmp"] = xmp.decode()
    assert metadata(saved(source)) == {"xmp": xmp}
    assert metadata(saved(source, xmp=None)) == {}


def test_foreign_and_damaged_files(tiny_vqc: bytes) -> None:
    for data in (b"", b"\x8fVQ", b"hello", b"\x8fVQD" + tiny_vqc[4:]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data))
    damaged = bytearray(tiny_vqc)
    damaged[8] ^= 1
    for data in (tiny_vqc[:10], bytes(damaged)):
        with pytest.raises(OSError, match="byte"):
            Image.open(io.BytesIO(data))
    with Image.open(io.BytesIO(tiny_vqc[:-3])) as image, pytest.raises(OSError, match="cut file"):
        image.load()


def test_load_truncated_images(photo: Image.Image, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = photo.copy()
    picture.putalpha(photo.convert("L"))
    picture.info["xmp"] = b"<x/>"
    data = vqcodec.encode(picture, "tiny")
    first = vqcodec.inspect(data).layers[0].end
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(data[:first])) as image:
        assert (image.mode, "xmp" in image.info) == ("RGBA", False)
        image.load()
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema() == (255, 255)
    with Image.open(io.BytesIO(data[: first - 4])) as image, pytest.raises(OSError, match="first layer"):
        image.load()


def test_pixel_limits_are_pillows(tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(tiny_vqc))


def test_verify_finds_damage_without_a_model(tiny_vqc: bytes, no_model: None, tmp_path: Path) -> None:
    path = tmp_path / "x.vqc"
    flipped = bytearray(tiny_vqc)
    flipped[len(flipped) // 2] ^= 1
    late = bytearray(tiny_vqc)
    late[-3] ^= 0x80
    for damaged in (bytes(flipped), bytes(late), tiny_vqc[:-20], tiny_vqc[:-1], tiny_vqc + b"x"):
        path.write_bytes(damaged)
        with Image.open(path) as image, pytest.raises(OSError, match=r"[a-z]"):
            image.verify()
    path.write_bytes(tiny_vqc)
    image = Image.open(path)
    image.verify()
    assert image.fp is None  # closed, as after verify() of Pillow's own plugins
    with Image.open(io.BytesIO(tiny_vqc)) as image:
        image.verify()
    with Image.open(path) as closed:
        pass
    with pytest.raises(ValueError, match="closed"):
        closed.verify()


def test_verify_loads_no_torch(tiny_vqc: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.vqc"
    path.write_bytes(tiny_vqc)
    code = (
        "import sys, vqcodec.pillow_plugin; from PIL import Image; "
        f"Image.open({str(path)!r}).verify(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
