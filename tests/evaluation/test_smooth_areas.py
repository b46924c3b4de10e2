"""Errors of smooth areas: values by hand, and the sample with gradients at every quality of two models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.evaluation.smooth_areas import patch_error, step_error
from vqcodec.models import registry

ROOFS = Path(__file__).parents[2] / "samples" / "roofs.png"


def test_an_area_of_another_colour_counts_and_noise_does_not() -> None:
    original = np.full((64, 80, 3), 100, np.uint8)
    noisy = original.copy()
    noisy[::2, ::2] += 8
    noisy[1::2, 1::2] -= 8
    assert patch_error(original, noisy) == 0
    shifted = original.copy()
    shifted[16:48, 16:64, 2] += 5
    assert patch_error(original, shifted) == 5
    assert step_error(original, shifted) == 5
    shifted[..., 2] = 105
    assert (patch_error(original, shifted), step_error(original, shifted)) == (5, 0)


def test_half_a_patch_counts_half() -> None:
    original = np.zeros((16, 32, 3), np.uint8)
    decoded = original.copy()
    decoded[:, 8:16] = 10
    assert patch_error(original, decoded) == 5
    assert step_error(original, decoded) == 5


def test_cut_patches_and_small_pictures() -> None:
    original = np.zeros((5, 70, 3), np.uint8)
    decoded = original.copy()
    decoded[:, 64:] = 90  # beyond the last whole patch
    assert patch_error(original, decoded) == 0
    decoded[:, :16] = 4
    assert patch_error(original, decoded) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "levels"), [("product-vq", {0.0: 16.0}), ("photo", {0.0: 22.0, 0.05: 16.0, 0.27: 4.0})]
)
def test_the_sample_with_gradients_at_every_quality(model: str, levels: dict[float, float]) -> None:
    """Better files have no larger errors of patches, within a tolerance.

    The largest of all files of at least so many bits per pixel stays under `levels`.
    """
    with Image.open(ROOFS) as image:
        part = image.convert("RGB").crop((384, 128, 640, 384))
    original = np.asarray(part)
    errors, rates = [], []
    for step in registry.find(model).config.ladder[::3]:
        data = vqcodec.encode(part, model, quality=step.quality, effort=1)
        errors.append(patch_error(original, np.asarray(vqcodec.decode(data).convert("RGB"))))
        rates.append(8 * len(data) / (part.width * part.height))
    for least, level in levels.items():
        assert max(error for error, rate in zip(errors, rates, strict=True) if rate >= least) < level, errors
    assert errors[-1] <= min(errors) + 1.0, errors
