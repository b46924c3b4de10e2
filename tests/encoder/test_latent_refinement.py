"""Latent refinement: steps that lower the distortion of the decoded picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import openvino
import pytest
from PIL import Image

import vqcodec
from vqcodec.encoder import compiled_measures, distortion_graphs, latent_refinement
from vqcodec.encoder.base import PictureEncoder
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.image.files import as_picture
from vqcodec.inference.backend import networks_of
from vqcodec.inference.compiled.networks import CompiledNetworks
from vqcodec.metrics import METRICS
from vqcodec.runtime.compilation import GraphCache


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    return Image.fromarray(data.chelsea()).resize((256, 192), Image.Resampling.LANCZOS)


@pytest.mark.slow
@pytest.mark.parametrize("effort", [6, 7])
def test_refinement_raises_psnr_at_equal_bytes(picture: Image.Image, effort: int) -> None:
    plain, refined = (encoder_for(as_picture(picture), "product-vq", effort=e) for e in (5, effort))
    steps = plain.ladder[::4]
    pixels = np.asarray(picture)

    def points(encoder: PictureEncoder) -> list[tuple[float, float]]:
        files = [encoder.file(step.lmbda, step.keep) for step in steps]
        return [(np.log(len(f)), METRICS["psnr"].measure(pixels, np.asarray(vqcodec.decode(f)))) for f in files]

    curve = points(plain)
    gained = [quality - np.interp(size, *zip(*curve, strict=True)) for size, quality in points(refined)]
    assert np.mean(gained) > 0


def unrefined(picture: np.ndarray) -> IndexEncoder:
    encoder = encoder_for(as_picture(picture), "product-vq", effort=5)
    assert isinstance(encoder, IndexEncoder)
    return encoder


def step_of(encoder: IndexEncoder, lmbda: float = 1.0) -> np.ndarray:
    """The change of the latent [D, h, w] by one step."""
    planes = encoder.tokens(lmbda).planes
    refined = latent_refinement.refine(encoder.model, encoder.picture, encoder.latent, planes, 0.4)
    change: np.ndarray = refined.values - encoder.latent.values
    return change


def use_element_type(monkeypatch: pytest.MonkeyPatch, kind: openvino.Type) -> None:
    """Compute the gradient of compiled networks in `kind`."""
    monkeypatch.setattr(compiled_measures, "fast_kind", lambda: kind)


@pytest.mark.slow
def test_windows_do_not_change_the_step_on_squared_error(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distortion_graphs, "SIMILARITY", 0.0)
    monkeypatch.setattr(latent_refinement, "HALO", 1.0)
    encoder = unrefined(np.asarray(picture))
    networks = networks_of(encoder.model)
    assert isinstance(networks, CompiledNetworks)
    monkeypatch.setattr(networks, "graphs", GraphCache())
    use_element_type(monkeypatch, openvino.Type.f32)
    found = []
    for side in (64, 1024):
        monkeypatch.setattr(latent_refinement, "WINDOW_PX", side)
        found.append(step_of(encoder))
    np.testing.assert_allclose(found[0], found[1], atol=2e-3 * np.abs(encoder.latent.values).max())
    assert np.abs(found[0]).max() > 1e-3


def test_bfloat16_and_a_partial_halo_keep_the_direction(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_refinement, "WINDOW_PX", 128)
    encoder = unrefined(np.asarray(picture))
    quick = step_of(encoder)
    use_element_type(monkeypatch, openvino.Type.f32)
    monkeypatch.setattr(latent_refinement, "HALO", 1.0)
    exact = step_of(encoder)
    assert 0.98 < (quick * exact).sum() / np.linalg.norm(quick) / np.linalg.norm(exact) < 1


def test_step_fractions_fall_to_the_last() -> None:
    for passes in (1, 4, 10):
        found = latent_refinement.step_fractions(passes)
        assert len(found) == passes
        assert all(a > b for a, b in pairwise(found))
        assert 0 < found[-1] <= found[0] < 1


def test_flat_areas_do_not_dominate_the_step(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 - MS-SSIM of a flat area is rounding noise in float32; divided by itself it would dominate the gradient."""
    monkeypatch.setattr(latent_refinement, "WINDOW_PX", 192)
    flat = np.full((192, 192, 3), 128, np.uint8)
    both = np.concatenate([flat, np.asarray(picture)[:, :192]], 1)
    step = np.abs(step_of(unrefined(both), 0.35))
    assert step[:, :, :10].mean() < 0.3 * step[:, :, 14:].mean()


def test_distance_per_bit_by_measured_curvatures() -> None:
    weights, lengths = np.array([1.0, 0.5, 0.2, 0.1]), np.array([4.0, 2.0, 1.0, 0.0])
    measured, error = latent_refinement.measured_weights(weights, lengths, 3 / weights)
    np.testing.assert_allclose(measured, weights)  # in proportion: nothing to correct
    assert error == pytest.approx(1.5)
    twice, _ = latent_refinement.measured_weights(weights, lengths, np.array([3.0, 6.0, 30.0, 0.0]))
    np.testing.assert_allclose(twice, [1, 0.5, 0.1, 0.1])  # the third has twice the effect; the last is not measured
    nothing, error = latent_refinement.measured_weights(weights, np.zeros(4), np.zeros(4))
    assert error == 0
    np.testing.assert_array_equal(nothing, weights)


@pytest.mark.slow
@pytest.mark.parametrize("effort", [6, 7])
def test_refinement_of_the_default_model_raises_ms_ssim_at_equal_bytes(picture: Image.Image, effort: int) -> None:
    pixels = np.asarray(picture)

    def points(effort: int) -> list[tuple[float, float]]:
        files = [vqcodec.encode(picture, quality=quality, effort=effort) for quality in (20, 40, 60)]
        return [(np.log(len(f)), METRICS["ms-ssim"].measure(pixels, np.asarray(vqcodec.decode(f)))) for f in files]

    (plain_bytes, plain), (refined_bytes, refined) = (zip(*points(e), strict=True) for e in (5, effort))
    inside = [i for i, size in enumerate(refined_bytes) if plain_bytes[0] <= size <= plain_bytes[-1]]
    assert len(inside) >= 2
    for i in inside:
        assert refined[i] > np.interp(refined_bytes[i], plain_bytes, plain)
