"""OpenVINO and torch run the same networks: pixels, latents, gradients and files agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

import vqcodec
from vqcodec.encoder.distortion import Area
from vqcodec.encoder.measures import measures_of
from vqcodec.errors import UsageError
from vqcodec.geometry.rectangles import Rect
from vqcodec.inference.backend import networks_of
from vqcodec.inference.compiled.networks import CompiledNetworks
from vqcodec.inference.torch_networks import TorchNetworks
from vqcodec.metrics import psnr
from vqcodec.models.loading import load_model
from vqcodec.runtime import backend, threads

PRODUCT_VQ = "product-vq"


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    image = Image.fromarray(data.chelsea()).resize((256, 192), Image.Resampling.LANCZOS)
    return np.asarray(image)


@pytest.fixture
def set_threads() -> Iterator[object]:
    yield threads.set_thread_count
    threads.set_thread_count(None)


def test_pixels_and_latents_agree(photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(PRODUCT_VQ)
    monkeypatch.setenv(backend.VARIABLE, "openvino")
    compiled = networks_of(model)
    monkeypatch.setenv(backend.VARIABLE, "torch")
    exact = networks_of(model)
    assert isinstance(compiled, CompiledNetworks)
    assert isinstance(exact, TorchNetworks)
    latents = [networks.encode(photograph) for networks in (compiled, exact)]
    assert np.abs(latents[0] - latents[1]).max() < 0.03 * np.abs(latents[1]).max()
    planes = exact.quantize(latents[1], 0.5)
    same = [(a == b).mean() for a, b in zip(compiled.quantize(latents[1], 0.5), planes, strict=True)]
    assert min(same) > 0.999
    pixels = [networks.decode(planes) for networks in (compiled, exact)]
    assert abs(psnr(photograph, pixels[0]) - psnr(photograph, pixels[1])) < 0.02
    assert np.abs(pixels[0].astype(int) - pixels[1]).max() <= 4


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_bfloat16_keeps_the_quality(device: str, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The element type of CUDA devices; on the CPU with their context."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    exact, fast = TorchNetworks(load_model(PRODUCT_VQ)), TorchNetworks(load_model(PRODUCT_VQ, device=device))
    if device == "cpu":
        monkeypatch.setattr(fast, "precision", lambda: torch.autocast("cpu", torch.bfloat16))
    latent, rounded = (networks.encode(photograph) for networks in (exact, fast))
    assert 0 < np.abs(latent - rounded).max() < 0.03 * np.abs(latent).max()
    planes = exact.quantize(latent, 0.5)
    qualities = [psnr(photograph, networks.decode(planes)) for networks in (exact, fast)]
    assert abs(qualities[0] - qualities[1]) < 0.02


@pytest.mark.parametrize(("place", "least"), [(Rect(0, 192, 0, 256), 0.998), (Rect(9, 185, 16, 187), 0.9)])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_gradients_agree(
    photograph: np.ndarray, place: Rect, least: float, grey: bool, with_alpha: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window, and a part of it, whose sides OpenVINO rounds up with pixels of alpha 0: they count in MS-SSIM."""
    model = load_model(PRODUCT_VQ)
    original = photograph[place.slices]
    alpha = np.full(place.shape, 255, np.uint8)
    alpha[:90] = 40
    area = Area(place, original, alpha if with_alpha else None, grey)
    networks, found = networks_of(model), []
    z, kept = networks.dequantize(networks.quantize(networks.encode(photograph), 0.5))
    for name in ("openvino", "torch"):
        monkeypatch.setenv(backend.VARIABLE, name)
        found.append(measures_of(model).gradient(z, kept, area))
    cosine = (found[0] * found[1]).sum() / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    assert cosine > least
    assert abs(np.linalg.norm(found[0]) / np.linalg.norm(found[1]) - 1) < 0.15


@pytest.mark.parametrize("shape", [(100, 150), (192, 256)])
def test_distortions_agree(photograph: np.ndarray, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Below and above the least size of MS-SSIM."""
    original = photograph[: shape[0], : shape[1]]
    decoded = (original // 16 * 16).astype(np.uint8)
    found = []
    for name in ("openvino", "torch"):
        monkeypatch.setenv(backend.VARIABLE, name)
        found.append(measures_of(load_model(PRODUCT_VQ)).distortion(decoded, original, None))
    assert found[0].squared_error == pytest.approx(found[1].squared_error, rel=1e-4)
    assert (found[0].dissimilarity is None) == (shape[0] == 100)
    if found[1].dissimilarity is not None:
        assert found[0].dissimilarity == pytest.approx(found[1].dissimilarity, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("effort", [5, 6, 7])
def test_the_number_of_threads_changes_no_byte(photograph: np.ndarray, effort: int, set_threads: object) -> None:
    files = []
    for count in (1, 2):
        set_threads(count)  # type: ignore[operator]
        files.append(vqcodec.encode(photograph, quality=30, effort=effort))
    assert files[0] == files[1]


def test_an_unknown_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="backend onnx: unknown; use one of auto, openvino, torch"):
        backend.set_backend("onnx")
    monkeypatch.setenv(backend.VARIABLE, "onnx")
    with pytest.raises(UsageError, match="backend onnx"):
        backend.chosen_backend()


def test_a_model_that_openvino_does_not_run_is_an_error_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "openvino")
    with pytest.raises(UsageError, match="backend openvino: it does not run model 'product-vq' on meta; use auto"):
        networks_of(load_model(PRODUCT_VQ, "meta"))


def test_float32_without_bfloat16(photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without fast bfloat16 computes in float32."""
    import openvino

    from vqcodec.inference.compiled import networks as compiled
    from vqcodec.runtime import compilation

    class Plain:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(compilation, "_core", Plain)
    compilation.fast_kind.cache_clear()
    assert compilation.fast_kind() == openvino.Type.f32
    compilation.fast_kind.cache_clear()
    monkeypatch.undo()
    model = load_model(PRODUCT_VQ)
    monkeypatch.setattr(compiled, "fast_kind", lambda: openvino.Type.f32)
    planes = networks_of(model).quantize(networks_of(model).encode(photograph[:64, :96]), 0.5)
    networks = CompiledNetworks(model.config.tokenizer, model.tensors, model.product)
    exact = TorchNetworks(model).decode(planes)
    assert np.abs(networks.decode(planes).astype(int) - exact).max() <= 1
