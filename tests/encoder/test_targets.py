"""Targets of the choice of codewords, moved by the decoder's error."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

import vqcodec
from vqcodec.encoder import latent_refinement
from vqcodec.encoder.index_encoder import Encoding
from vqcodec.image.picture import as_picture
from vqcodec.metrics import METRICS
from vqcodec.models.loading import load_model


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    return Image.fromarray(data.chelsea()).resize((256, 192), Image.Resampling.LANCZOS)


@pytest.mark.parametrize(("model", "effort"), [("photo", 6), ("photo-hq", 6), ("photo", 7)])
def test_a_pass_makes_a_better_picture_for_its_bytes(picture: Image.Image, model: str, effort: int) -> None:
    plain, moved = (Encoding(as_picture(picture), model, effort=e) for e in (5, effort))
    steps = plain.ladder[::4]
    pixels = np.asarray(picture)

    def points(encoding: Encoding) -> list[tuple[float, float]]:
        files = [encoding.file(step.rate, step.keep) for step in steps]
        return [(np.log(len(f)), METRICS["psnr"].measure(pixels, np.asarray(vqcodec.decode(f)))) for f in files]

    curve = points(plain)
    gained = [quality - np.interp(size, *zip(*curve, strict=True)) for size, quality in points(moved)]
    assert np.mean(gained) > 0


def moved_by(encoding: Encoding, picture: Image.Image) -> np.ndarray:
    assert encoding._latent is not None
    target = encoding._latent.values
    planes = encoding.tokens(1.0).planes
    found: np.ndarray = (
        latent_refinement.moved(encoding.model, np.asarray(picture), target, planes, 0.4).values - target
    )
    return found


def test_windows_make_no_difference_to_squared_error(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_refinement, "SIMILARITY", 0.0)
    monkeypatch.setattr(latent_refinement, "in_bfloat16", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(latent_refinement, "HALO", 1.0)
    encoding = Encoding(as_picture(picture), "photo", effort=5)
    assert encoding._latent is not None
    found = []
    for side in (64, 1024):
        monkeypatch.setattr(latent_refinement, "WINDOW_PX", side)
        found.append(moved_by(encoding, picture))
    np.testing.assert_allclose(found[0], found[1], atol=2e-3 * np.abs(encoding._latent.values).max())
    assert np.abs(found[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["photo", "photo-hq"])
def test_bfloat16_and_a_part_of_the_halo_leave_the_direction(
    name: str, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_refinement, "WINDOW_PX", 128)
    encoding = Encoding(as_picture(picture), name, effort=5)
    monkeypatch.setattr(latent_refinement, "in_bfloat16", lambda device: torch.autocast("cpu", torch.bfloat16))
    quick = moved_by(encoding, picture)
    monkeypatch.setattr(latent_refinement, "in_bfloat16", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(latent_refinement, "HALO", 1.0)
    exact = moved_by(encoding, picture)
    assert 0.98 < (quick * exact).sum() / np.linalg.norm(quick) / np.linalg.norm(exact) < 1


def test_steps_shorten_to_the_last() -> None:
    for passes in (1, 4, 10):
        found = latent_refinement.steps(passes)
        assert len(found) == passes
        assert all(a > b for a, b in pairwise(found))
        assert 0 < found[-1] <= found[0] < 1


def test_a_flat_part_does_not_take_the_whole_step(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, 1 - MS-SSIM of what is flat is noise; divided by itself it would outweigh all else."""
    monkeypatch.setattr(latent_refinement, "WINDOW_PX", 192)
    flat = np.full((192, 192, 3), 128, np.uint8)
    both = np.concatenate([flat, np.asarray(picture)[:, :192]], 1)
    encoding = Encoding(as_picture(both), "photo-hq", effort=5)
    assert encoding._latent is not None
    target, planes = encoding._latent.values, encoding.tokens(0.35).planes
    step = np.abs(latent_refinement.moved(load_model("photo-hq"), both, target, planes, 0.4).values - target)
    assert step[:, :, :20].mean() < 0.3 * step[:, :, 28:].mean()


def test_worth_of_a_bit_by_measured_curvatures() -> None:
    prices, lengths = np.array([1.0, 0.5, 0.2, 0.1]), np.array([4.0, 2.0, 1.0, 0.0])
    worth, error = latent_refinement._worth(prices, lengths, 3 / prices)
    np.testing.assert_allclose(worth, prices)  # in proportion: nothing to correct
    assert error == pytest.approx(1.5)
    twice, _ = latent_refinement._worth(prices, lengths, np.array([3.0, 6.0, 30.0, 0.0]))
    np.testing.assert_allclose(twice, [1, 0.5, 0.1, 0.1])  # the third is felt twice as much; the last was not measured
    nothing, error = latent_refinement._worth(prices, np.zeros(4), np.zeros(4))
    assert error == 0
    np.testing.assert_array_equal(nothing, prices)
