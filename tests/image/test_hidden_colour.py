"""Colour of transparent pixels: no effect on files, sizes and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.errors import TargetError
from vqcodec.image.hidden_colour import FAINT, with_hidden_filled
from vqcodec.image.picture import Picture, from_pillow
from vqcodec.metrics import METRICS, ms_ssim, psnr, visible

from ..commands import Invoke, fails

Pixels = np.ndarray
GIVEN = Path(__file__).parents[3] / "shared" / "faults" / "inputs"


def disc(size: int = 96) -> Pixels:
    """RGBA: an opaque disc of one colour on a transparent ground."""
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    rgba = np.empty((size, size, 4), np.uint8)
    rgba[..., :3] = (200, 80, 40)
    rgba[..., 3] = np.where(x**2 + y**2 < (0.4 * size) ** 2, 255, 0)
    return rgba


def cut_out(photo: Image.Image) -> Pixels:
    """RGBA: a photograph with a soft edge."""
    image = photo.resize((96, 72))
    y, x = np.mgrid[:72, :96]
    alpha = (255 * (30 - np.hypot(x - 48, y - 36)) / 8).clip(0, 255)
    return np.dstack([np.asarray(image), alpha.astype(np.uint8)])


HIDDEN: dict[str, Callable[[Pixels], Pixels]] = {
    "black": lambda rgb: np.zeros_like(rgb),
    "white": lambda rgb: np.full_like(rgb, 255),
    "noise": lambda rgb: np.random.default_rng(0).integers(0, 256, rgb.shape, np.uint8),
    "stripes": lambda rgb: np.broadcast_to(np.arange(rgb.shape[1], dtype=np.uint8)[None, :, None] % 2 * 255, rgb.shape),
}


def hiding(rgba: Pixels, name: str) -> Image.Image:
    """The same visible picture, with other colour where alpha is 0."""
    out = rgba.copy()
    hidden = rgba[..., 3] == 0
    out[hidden, :3] = HIDDEN[name](rgba[..., :3])[hidden]
    return Image.fromarray(out)


@pytest.mark.parametrize("shape", ["disc", "cut-out"])
@pytest.mark.parametrize(
    "rate", [{}, {"max_bytes": 1100}, {"min_quality": ("psnr", 1.0)}, {"effort": 3}, {"effort": 7}]
)
def test_files_do_not_depend_on_hidden_colour(
    photo: Image.Image, tiny_model: str, shape: str, rate: dict[str, object]
) -> None:
    rgba = disc() if shape == "disc" else cut_out(photo)
    files = {vqcodec.encode(hiding(rgba, name), tiny_model, **rate) for name in HIDDEN}  # type: ignore[arg-type]
    assert len(files) == 1
    assert np.array_equal(np.asarray(vqcodec.decode(files.pop()))[..., 3], rgba[..., 3])


@pytest.mark.skipif(not GIVEN.is_dir(), reason="the given inputs are not installed next to this checkout")
def test_given_discs_have_equal_indices(tiny_model: str) -> None:
    clean, black = (vqcodec.encode(GIVEN / f"alpha_{name}.png", tiny_model) for name in ("clean", "black"))
    assert clean == black


def test_tokens_and_grey_pictures_do_not_depend_on_hidden_colour(photo: Image.Image, tiny_model: str) -> None:
    grey = np.asarray(photo.resize((64, 48)).convert("L"))
    alpha = np.where(np.arange(64) < 30, 255, 0).astype(np.uint8)[None].repeat(48, 0)
    one, other = (np.dstack([np.where(alpha > 0, grey, fill).astype(np.uint8), alpha]) for fill in (0, 255))
    assert vqcodec.tokenize(one, tiny_model) == vqcodec.tokenize(other, tiny_model)
    assert vqcodec.tokenize(one, tiny_model).grey


def test_the_fill_continues_visible_colour() -> None:
    rgba = disc()
    filled = with_hidden_filled(from_pillow(hiding(rgba, "noise")))
    assert np.abs(filled.pixels.astype(int) - (200, 80, 40)).max() <= 1
    ramp = np.zeros((32, 64, 4), np.uint8)
    ramp[..., 0] = np.arange(64) * 4
    ramp[:, 20:50, 3] = 255
    levels = with_hidden_filled(from_pillow(Image.fromarray(ramp))).pixels[..., 0].astype(int)
    assert np.array_equal(levels[:, 20:50], ramp[:, 20:50, 0])
    assert np.abs(np.diff(levels, axis=1)).max() <= 16
    assert abs(levels[:, :4].mean() - 80) < 30
    assert abs(levels[:, -4:].mean() - 196) < 30


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33)])
def test_every_size_and_amount_of_alpha(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for kind in range(4):
        alpha = [rng.integers(0, 4, size) * 85, rng.integers(0, 2, size), np.zeros(size), np.full(size, 255)][kind]
        picture = Picture(rng.integers(0, 256, (*size, 3), np.uint8), alpha.astype(np.uint8))
        filled = with_hidden_filled(picture)
        seen = alpha > FAINT
        assert np.array_equal(filled.pixels[seen], picture.pixels[seen])
        other = Picture(np.where(seen[..., None], picture.pixels, 99).astype(np.uint8), picture.alpha)
        assert np.array_equal(with_hidden_filled(other).pixels, filled.pixels)
    assert with_hidden_filled(picture) is picture


def test_measures_weigh_errors_by_alpha(photo: Image.Image) -> None:
    a = np.asarray(photo)
    b = np.asarray(photo.rotate(1))
    opaque = np.full(a.shape[:2], 255, np.uint8)
    for name, metric in METRICS.items():
        assert visible(name, a, b, None) == visible(name, a, b, opaque) == metric.measure(a, b)
        assert visible(name, a, b, opaque // 5) >= metric.measure(a, b) - 1e-6
    left = opaque.copy()
    left[:, 100:] = 0
    half = np.where(left[..., None] > 0, a, b)
    assert visible("psnr", a, half, left) == math.inf
    assert visible("ms-ssim", a, half, left) == pytest.approx(1)
    assert visible("psnr", a, b, left) == pytest.approx(psnr(a[:, :100], b[:, :100]))
    assert visible("ms-ssim", a, b, left) > ms_ssim(a, b)
    assert visible("psnr", a, b, opaque * 0) == math.inf


def test_min_quality_does_not_count_hidden_pixels(work: Path, invoke: Invoke, tiny_model: str) -> None:
    reached = visible_psnr(vqcodec.encode(Image.fromarray(disc()), tiny_model))
    hiding(disc(), "noise").save("noise.png")
    code, _, err = invoke("encode", "noise.png", "-m", tiny_model, "--min-quality", f"psnr={reached - 0.1:.2f}")
    assert code == 0, err
    fails(invoke("encode", "noise.png", "-f", "-m", tiny_model, "--min-quality", "psnr=90"), 8, "psnr 90")


@pytest.mark.parametrize("shape", ["disc", "cut-out"])
def test_a_file_within_a_budget_does_not_depend_on_hidden_colour(
    photo: Image.Image, two_models: None, shape: str
) -> None:
    rgba = disc() if shape == "disc" else cut_out(photo)
    smallest, largest = (len(vqcodec.encode(hiding(rgba, "black"), quality=q)) for q in (1, 100))
    for share in (0.25, 0.5, 0.75):
        max_bytes = round(smallest + share * (largest - smallest))
        files = {vqcodec.encode(hiding(rgba, name), max_bytes=max_bytes) for name in HIDDEN}
        assert len(files) == 1
        assert smallest <= len(next(iter(files))) <= max_bytes < largest


def visible_psnr(data: bytes) -> float:
    rgba = disc()
    seen = rgba[..., 3] > 0
    error = np.asarray(vqcodec.decode(data))[..., :3].astype(float)[seen] - rgba[..., :3][seen]
    return 10 * math.log10(255**2 / float(np.square(error).mean()))


def test_bundled_model_at_defaults() -> None:
    files = {name: vqcodec.encode(hiding(disc(64), name)) for name in ("black", "noise")}
    assert files["black"] == files["noise"]
    rgba = disc(64)
    shown = np.asarray(vqcodec.decode(files["noise"]))
    seen = rgba[..., 3] > 0
    error = shown[..., :3].astype(float)[seen] - rgba[..., :3][seen]
    assert np.square(error).mean() <= 255**2 / 10**4.5  # 45 dB; it may be 0


@pytest.mark.parametrize("size", [(9, 7), (32, 200), (500, 1)])
def test_ms_ssim_is_no_target_for_small_pictures(
    tmp_path: Path, invoke: Invoke, tiny_model: str, size: tuple[int, int]
) -> None:
    path = tmp_path / "icon.png"
    Image.new("RGB", size, "teal").save(path)
    outcome = invoke("encode", path, "-m", tiny_model, "--min-quality", "ms-ssim=0.9")
    fails(outcome, 8, "33 pixels", "psnr")
    assert "nan" not in outcome[2]
    with pytest.raises(TargetError, match="needs 33 pixels"):
        vqcodec.encode(path, tiny_model, min_quality=("ms-ssim", 0.9))
