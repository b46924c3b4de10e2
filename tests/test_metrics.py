"""PSNR, MS-SSIM and bpp against values computed by hand or known by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqcodec.metrics import METRICS, Pixels, bpp, ms_ssim, psnr, window_px


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """Smooth colours with some texture."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([128 + 90 * np.sin(x / 17 + c) * np.cos(y / 23) for c in range(3)], -1)
    return np.clip(waves + np.random.default_rng(seed).normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


def noisy(pixels: Pixels, amount: float) -> Pixels:
    noise = np.random.default_rng(1).normal(0, amount, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def test_psnr_by_hand() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0] = (3, 4, 0)
    b[1, 1, 2] = 11  # squares 9 + 16 + 121 = 146 over 12 values
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / (146 / 12)))
    assert psnr(b, a) == psnr(a, b)  # uint8 must not wrap


def test_psnr_bounds() -> None:
    a = picture(5, 7)
    assert psnr(a, a) == math.inf
    assert psnr(np.zeros_like(a), np.full_like(a, 255)) == 0


def test_ms_ssim_of_equal_pictures_is_one() -> None:
    a = picture(170, 180)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_falls_with_noise() -> None:
    a = picture(161, 200)
    values = [ms_ssim(a, noisy(a, amount)) for amount in (3, 12, 48)]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_is_the_mean_of_the_channels() -> None:
    a = picture(176, 180)
    b = a.copy()
    b[..., 1] = noisy(a, 30)[..., 1]
    other = ms_ssim(np.repeat(a[..., 1:2], 3, 2), np.repeat(b[..., 1:2], 3, 2))
    assert ms_ssim(a, b) == pytest.approx((2 + other) / 3, abs=1e-6)


def test_ms_ssim_agrees_with_one_tensor() -> None:
    import torch
    from pytorch_msssim import ms_ssim as reference

    a = picture(173, 191)
    b = noisy(a, 20)
    x, y = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None] for p in (a, b))
    assert ms_ssim(a, b) == pytest.approx(reference(x, y, data_range=255).item(), abs=1e-6)


@pytest.mark.parametrize(("side", "window"), [(1, None), (32, None), (33, 3), (64, 3), (65, 5), (160, 9), (161, 11)])
def test_window_of_a_side(side: int, window: int | None) -> None:
    assert window_px(side) == window
    assert window_px(4000) == 11


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (32, 32), (32, 400)])
def test_ms_ssim_is_undefined_for_tiny_pictures(shape: tuple[int, int]) -> None:
    a = picture(*shape)
    assert math.isnan(ms_ssim(a, noisy(a, 9)))


@pytest.mark.parametrize("shape", [(33, 33), (33, 200), (64, 47), (97, 65), (129, 131), (160, 160)])
def test_ms_ssim_of_small_pictures(shape: tuple[int, int]) -> None:
    a = picture(*shape)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-6)
    assert 0 < ms_ssim(a, noisy(a, 30)) < 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8)),
    ],
)
def test_invalid_arrays_are_refused(a: Pixels, b: Pixels) -> None:
    for metric in METRICS.values():
        with pytest.raises(ValueError, match=r"\["):
            metric.measure(a, b)


def test_bpp() -> None:
    assert bpp(1000, 100, 80) == 1
    with pytest.raises(ValueError, match="0x5"):
        bpp(10, 0, 5)
