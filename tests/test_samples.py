"""The .vqc files in samples/ decode with the bundled model."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import vqcodec

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.vqc"))


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 5


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_bundled_model_reads_every_sample(path: Path) -> None:
    data = path.read_bytes()
    with Image.open(path.with_suffix(".png")) as picture:
        size = picture.size
    info = vqcodec.verify(data)
    assert info.size == size
    assert info.model == "photo"
    coarse = vqcodec.decode(data, region=(0, 0, 64, 48))
    assert coarse.size == (64, 48)
