"""The .vqc files in samples/ decode with the bundled models."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import vqcodec

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.vqc"))


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 5


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_bundled_model_reads_every_sample(path: Path) -> None:
    data = path.read_bytes()
    with Image.open(path.with_name(path.stem.removesuffix("-hq") + ".png")) as picture:
        size = picture.size
    info = vqcodec.verify(data)
    assert info.size == size
    assert info.model == ("photo-hq" if path.stem.endswith("-hq") else "photo-wavelet")
    coarse = vqcodec.decode(data, region=(0, 0, 64, 48))
    assert coarse.size == (64, 48)
