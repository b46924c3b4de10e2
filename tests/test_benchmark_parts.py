"""benchmarks/parts.py: variants of the small stepped model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.image.files import as_picture


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(5)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize((224, 192), Image.Resampling.BICUBIC)


def test_variants_of_a_model(stepped_folder: Path, picture: Image.Image) -> None:
    from benchmarks.parts import COMPLETE, Parts

    parts = Parts(str(stepped_folder))
    found = parts.points(as_picture(picture), every=3)
    assert {len(points) for points in found.values()} == {len(parts.model.config.ladder[::3])}
    rung = parts.model.config.ladder[0]
    data = vqcodec.encode(picture, str(stepped_folder), quality=rung.quality)
    assert found[COMPLETE][0][0] == pytest.approx(8 * len(data) / (224 * 192))
    complete = {point[1] for point in found[COMPLETE]}
    assert {point[1] for point in found["context network: the middle step as input"]} == complete
    assert {point[1] for point in found["no decoder network, the transform alone"]} != complete


def test_pictures_of_several_tiles_are_refused(stepped_folder: Path) -> None:
    from benchmarks.parts import Parts

    with pytest.raises(ValueError, match="2100x8 pixels: more than one access tile"):
        Parts(str(stepped_folder)).points(as_picture(Image.new("RGB", (2100, 8))), every=6)
