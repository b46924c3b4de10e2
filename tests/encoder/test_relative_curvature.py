"""Relative curvature of the distortion by level and position."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.encoder.distortion import LEAST_PX, SIMILARITY, WEIGHTS
from vqcodec.encoder.relative_curvature import C2, relative_curvatures

LEVELS = 3
STRIDE = 2**LEVELS


def half_textured(height: int = 200, width: int = 400) -> np.ndarray:
    """A flat left half, noise of single pixels in the right half."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (height, width - width // 2, 1), dtype=np.uint8)
    pixels[:, width // 2 :] = noise
    return pixels


def test_errors_count_less_in_texture_and_means_are_1() -> None:
    found = relative_curvatures(half_textured(), LEVELS)
    assert found is not None
    assert len(found) == 2 * LEVELS + 1
    for r in found:
        assert (r.dtype, r.shape) == (np.float32, (200 // STRIDE, 400 // STRIDE))
        assert float(r.mean()) == pytest.approx(1, abs=1e-3)
        assert r[:, :24].min() > 1.1 > 0.9 > r[:, 26:].max() > 1 - SIMILARITY


def test_fine_texture_hides_errors_of_fine_levels_most() -> None:
    """The noise averages out at coarse scales, where errors of coarse levels are visible again."""
    found = relative_curvatures(half_textured(), LEVELS)
    assert found is not None
    coarse_to_fine = [float(r[:, 26:].mean()) for r in (found[0], *found[1::2])]
    assert coarse_to_fine == sorted(coarse_to_fine, reverse=True)
    assert coarse_to_fine[0] > coarse_to_fine[-1] + 0.02


def test_the_finest_level_is_part_of_the_finest_scale_alone() -> None:
    """Vertical stripes of 2 px: the variance of each block of 4 x 4 px is known."""
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[:, 200:, :] = np.where(np.arange(200) // 2 % 2, 40, 0)[None, :, None]
    found = relative_curvatures(pixels, LEVELS)
    assert found is not None
    flat, striped = WEIGHTS[0] / C2, WEIGHTS[0] / (2 * 20**2 + C2)
    ratio = [(1 - SIMILARITY) + SIMILARITY * part / ((flat + striped) / 2) for part in (flat, striped)]
    assert found[-2][3, 3] == pytest.approx(ratio[0], rel=1e-4)
    assert found[-2][3, 40] == pytest.approx(ratio[1], rel=1e-4)


def test_sizes_that_are_no_multiples_of_blocks() -> None:
    found = relative_curvatures(half_textured(183, 517), LEVELS)
    assert found is not None
    assert all(r.shape == (23, 65) and np.isfinite(r).all() for r in found)


def test_pictures_without_ms_ssim_have_none() -> None:
    assert relative_curvatures(half_textured(LEAST_PX, 400), LEVELS) is None
    assert relative_curvatures(half_textured(LEAST_PX + 1, 400), LEVELS) is not None
