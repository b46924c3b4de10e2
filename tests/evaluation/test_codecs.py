"""The reference codecs: round trips, options, and errors of unknown and missing ones."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from vqcodec.errors import UsageError
from vqcodec.evaluation.codecs import CODECS, ReferenceCodec, make_codec
from vqcodec.evaluation.rate_sweep import RateSweep
from vqcodec.metrics import METRICS

from ..test_metrics import picture

PSNR = METRICS["psnr"]


def real(name: str) -> ReferenceCodec:
    """The codec `name`; skips the test where its library is missing."""
    if name == "jxl":
        pytest.importorskip("pillow_jxl", reason="JPEG XL comes with pillow-jxl-plugin, of the extra `eval`")
    return make_codec(name)


@pytest.mark.parametrize("name", CODECS)
def test_reference_codecs(name: str) -> None:
    codec = real(name)
    pixels = picture(48, 64)
    low, high = (codec.encode(pixels, setting) for setting in (codec.settings[10], codec.settings[-6]))
    assert len(low) < len(high)
    assert codec.encode(pixels, codec.settings[10]) == low
    assert codec.decode(low).shape == pixels.shape
    assert PSNR.measure(pixels, codec.decode(high)) > PSNR.measure(pixels, codec.decode(low))
    limit = (len(low) + len(high)) // 2
    setting = RateSweep(codec, pixels).largest_within(limit)
    assert setting is not None
    assert len(low) <= len(codec.encode(pixels, setting)) <= limit
    assert RateSweep(codec, pixels).largest_within(20) is None
    assert "quality" in codec.describe()


def test_jpeg_is_progressive_and_bare() -> None:
    with Image.open(io.BytesIO(make_codec("jpeg").encode(picture(32, 32), 40))) as image:
        assert image.info.get("progressive")
        assert not {"exif", "icc_profile", "comment"} & set(image.info)


def test_threads_do_not_change_a_jxl_file() -> None:
    codec = real("jxl")
    pixels = picture(300, 280)
    bare = io.BytesIO()
    Image.fromarray(pixels).save(bare, "JXL", quality=40, effort=7, num_threads=0)
    assert codec.encode(pixels, 40) == bare.getvalue()


def test_unknown_and_missing_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="jpeg, webp, avif, jxl"):
        make_codec("gif")
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"jxl needs pillow-jxl-plugin.*'vqcodec\[eval\]'"):
        make_codec("jxl")
