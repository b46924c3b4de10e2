"""Targets of the choice of codewords, moved by the decoder's error."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec import targets
from vqcodec.encoding import Encoding
from vqcodec.image import as_picture
from vqcodec.metrics import METRICS
from vqcodec.registry import load_model


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    return Image.fromarray(data.chelsea()).resize((256, 192), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("model", ["photo", "photo-hq"])
def test_a_pass_makes_a_better_picture_for_its_bytes(picture: Image.Image, model: str) -> None:
    plain, moved = (Encoding(as_picture(picture), model, effort=effort) for effort in (5, 7))
    steps = plain.ladder[::4]
    pixels = np.asarray(picture)

    def points(encoding: Encoding) -> list[tuple[float, float]]:
        files = [encoding.file(step.rate, step.keep) for step in steps]
        return [(np.log(len(f)), METRICS["psnr"].measure(pixels, np.asarray(vqcodec.decode(f)))) for f in files]

    curve = points(plain)
    gained = [quality - np.interp(size, *zip(*curve, strict=True)) for size, quality in points(moved)]
    assert np.mean(gained) > 0


def test_windows_make_no_difference_to_squared_error(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "SIMILARITY", 0.0)
    encoding = Encoding(as_picture(picture), "photo")
    assert encoding._latent is not None
    target, planes = encoding._latent.values, encoding.tokens(1.0).planes
    found = []
    for side in (64, 1024):
        monkeypatch.setattr(targets, "WINDOW_PX", side)
        found.append(targets.moved(load_model("photo"), np.asarray(picture), target, planes).values)
    np.testing.assert_allclose(found[0], found[1], atol=2e-3 * np.abs(target).max())
    assert np.abs(found[0] - target).max() > 1e-3
