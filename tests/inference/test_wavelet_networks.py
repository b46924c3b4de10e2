"""The wavelet in numpy and the decoder network in OpenVINO: equal to torch's, whole and in windows."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import openvino
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vqcodec
from vqcodec.backbones.wavelet_arrays import latent_to_picture, pixels_to_latent
from vqcodec.encoder import torch_measures, wavelet_measures
from vqcodec.encoder.distortion import Area
from vqcodec.geometry.rectangles import Rect
from vqcodec.inference.backend import networks_of
from vqcodec.inference.networks import planes_to_pixels
from vqcodec.inference.torch_networks import TorchNetworks
from vqcodec.models.loading import load_model
from vqcodec.transforms import lifting, lifting_arrays


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 4))
def test_the_wavelet_in_numpy_is_that_of_torch(h: int, w: int, levels: int) -> None:
    z = np.random.default_rng(0).normal(size=(2, h, w)).astype(np.float32)
    expected = lifting.lift(torch.from_numpy(z)[None], levels)[0].numpy()
    found = lifting_arrays.lift(z.copy(), levels)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(lifting_arrays.unlift(found, levels), z, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 20))
def test_the_adjoint_of_the_inverse_wavelet(h: int, w: int) -> None:
    """<merge(x), y> = <x, merge_adjoint(y)> for all x and y."""
    rng = np.random.default_rng(0)
    low, *details = rng.normal(size=(4, 1, h, w)).astype(np.float32)
    y = rng.normal(size=(1, 2 * h, 2 * w)).astype(np.float32)
    bands, (low_of_y, details_of_y) = [low.copy(), *details], lifting_arrays.merge_adjoint(y.copy())
    right = sum(float((x * g).sum()) for x, g in zip(bands, (low_of_y, *details_of_y), strict=True))
    left = float((lifting_arrays.merge(low, (details[0].copy(), details[1].copy(), details[2].copy())) * y).sum())
    assert left == pytest.approx(right, rel=1e-3, abs=2e-3)


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 20))
def test_a_level_with_bands_apart_is_that_in_place(h: int, w: int) -> None:
    def bands(whole: np.ndarray) -> list[np.ndarray]:
        return [whole[:, y::2, x::2] for y, x in ((0, 0), (0, 1), (1, 0), (1, 1))]

    def apart(found: tuple[np.ndarray, lifting_arrays.Details]) -> list[np.ndarray]:
        return [found[0], *found[1]]

    x = np.random.default_rng(0).normal(size=(2, 2 * h, 2 * w)).astype(np.float32)
    np.testing.assert_array_equal(apart(lifting_arrays.split(x.copy())), bands(lifting_arrays.lift(x.copy(), 1)))
    low, *details = (np.ascontiguousarray(band) for band in bands(x.copy()))
    found = lifting_arrays.merge(low, (details[0], details[1], details[2]))
    np.testing.assert_array_equal(found, lifting_arrays.unlift(x.copy(), 1))


@pytest.mark.parametrize("shape", [(384, 512), (181, 203), (100, 90)])
def test_both_libraries_have_the_same_gradient(
    stepped: str, photo: Image.Image, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wavelet_measures, "fast_kind", lambda: openvino.Type.f32)
    monkeypatch.setattr(torch_measures, "in_bfloat16", lambda _: nullcontext())
    pixels = np.asarray(photo.convert("RGB").resize(shape[::-1]))
    model, data = load_model(stepped), vqcodec.encode(Image.fromarray(pixels), stepped, quality=60, effort=5)
    tokens, networks = vqcodec.decode_tokens(data), networks_of(model)
    z, kept = networks.dequantize(tokens.planes, tokens.step)
    area = Area(Rect(0, shape[0], 0, shape[1]), pixels, None, False)
    measures = (wavelet_measures.WaveletMeasures(networks), torch_measures.TorchMeasures(model))
    ours, theirs = (each.gradient(z, kept, area) for each in measures)
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
def test_gradients_of_a_part_agree(
    stepped: str, photo: Image.Image, grey: bool, transparent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An area inside its window, with alpha and of a grey picture."""
    monkeypatch.setattr(wavelet_measures, "fast_kind", lambda: openvino.Type.f32)
    monkeypatch.setattr(torch_measures, "in_bfloat16", lambda _: nullcontext())
    pixels = np.asarray(photo.convert("RGB").resize((320, 256)))
    model, data = load_model(stepped), vqcodec.encode(Image.fromarray(pixels), stepped, quality=60, effort=5)
    tokens, networks = vqcodec.decode_tokens(data), networks_of(model)
    z, kept = networks.dequantize(tokens.planes, tokens.step)
    place = Rect(32, 224, 64, 256)
    alpha = np.random.default_rng(0).integers(0, 256, place.shape, np.uint8) if transparent else None
    area = Area(place, np.ascontiguousarray(pixels[place.slices]), alpha, grey)
    measures = (wavelet_measures.WaveletMeasures(networks), torch_measures.TorchMeasures(model))
    ours, theirs = (each.gradient(z, kept, area) for each in measures)
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())
    assert np.abs(theirs).max() > 0


@pytest.mark.parametrize("levels", [2, 3])
def test_the_transform_is_that_of_the_backbone(stepped: str, levels: int) -> None:
    from vqcodec.backbones.wavelet import WaveletDecoder, WaveletEncoder
    from vqcodec.config.backbones import WaveletConfig

    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    channels = 3 * 4**levels
    z = pixels_to_latent(pixels, levels)
    np.testing.assert_allclose(z, WaveletEncoder(WaveletConfig(8, 1), channels, 1)(x)[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(latent_to_picture(z), x[0].numpy(), atol=1e-5)
    picture = WaveletDecoder(WaveletConfig(8, 1), channels, 1).picture(torch.from_numpy(z)[None])
    np.testing.assert_allclose(picture[0].numpy(), x[0].numpy(), atol=1e-5)


def test_both_libraries_decode_alike(stepped: str, photo: Image.Image) -> None:
    model = load_model(stepped)
    tokens = vqcodec.decode_tokens(vqcodec.encode(photo, stepped, quality=60, effort=5))
    networks, torch_networks = networks_of(model), TorchNetworks(model)
    assert not isinstance(networks, TorchNetworks)
    ours, theirs = (n.decode(tokens.planes, tokens.step).astype(int) for n in (networks, torch_networks))
    assert np.abs(ours - theirs).max() <= 1
    pairs = zip(*(n.dequantize(tokens.planes, tokens.step) for n in (networks, torch_networks)), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_windows_make_the_whole_picture(stepped: str) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).resize((480, 320), Image.Resampling.BICUBIC)
    tokens = vqcodec.decode_tokens(vqcodec.encode(picture, stepped, quality=60, effort=5))
    model, region = load_model(stepped), Rect(0, 320, 0, 480)
    whole = planes_to_pixels(model, tokens.planes, region, step=tokens.step).astype(int)
    parts = planes_to_pixels(model, tokens.planes, region, window_px=64, step=tokens.step)
    assert np.abs(whole - parts).max() <= 1
    assert np.abs(whole - np.asarray(vqcodec.decode(vqcodec.encode_tokens(tokens)).convert("RGB"))).max() <= 1
