"""Tokens and files of every kind of quantizer: grids, growing grids, sequences, windows with separate planes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image
from torch import Tensor

import vqcodec
from vqcodec.config.model import ConvConfig, LadderStep, ModelConfig, TokenizerConfig, check_model
from vqcodec.config.quantizers import (
    BinaryConfig,
    FSQConfig,
    GMMVQConfig,
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
    VQConfig,
)
from vqcodec.container import Header, read
from vqcodec.errors import UsageError
from vqcodec.geometry.rectangles import Rect, read_padded
from vqcodec.geometry.token_layout import access_tiles, plane_shapes, window_rects
from vqcodec.inference import networks
from vqcodec.models import identity, loading, registry
from vqcodec.models.loading import write_model
from vqcodec.tokenizer import Tokenizer, training_only
from vqcodec.tokens.tokens import Tokens

VQ = VQConfig(16, 4, "cosine")
SYSTEMS: dict[str, tuple[QuantizerConfig, int, int]] = {
    "vq": (VQConfig(16, 4, "unit"), 0, 0),
    "binary": (BinaryConfig(6, spherical=True), 0, 0),
    "fsq": (FSQConfig((5, 4, 3)), 0, 0),
    "residual": (ResidualConfig(3, VQ), 0, 0),
    "product-of-residual": (SplitConfig(2, ResidualConfig(3, BinaryConfig(3, scale=0.5))), 0, 0),
    "branches": (SplitConfig(2, VQConfig(16, 4, "unit")), 128, 16),
    "multi-scale": (SplitConfig(2, MultiScaleConfig((1, 2, 4, 8), VQ)), 128, 16),
    "multi-scale-binary": (MultiScaleConfig((1, 3, 6), BinaryConfig(5)), 96, 24),
    "runs-of-tokens": (SplitConfig(4, VQ, over="tokens"), 64, 0),
    "soft-vq": (SoftVQConfig(16, 4, segments=4, terms=3), 128, 32),
    "soft-vq-grid": (SoftVQConfig(16, 4, terms=3), 0, 0),
    "gmm-vq": (GMMVQConfig(16, 4, terms=2), 128, 16),
    "split-of-soft-vq": (SplitConfig(2, SoftVQConfig(16, 4, terms=2)), 0, 0),
    "residual-of-soft-vq": (ResidualConfig(2, SoftVQConfig(16, 4, normalised=False, terms=2)), 0, 0),
    "groups-in-windows": (ProductVQConfig(2, 16, 4), 128, 16),
}


def write(folder: Path, name: str, quantizer: QuantizerConfig, window: int = 0, overlap: int = 0) -> ModelConfig:
    """A model of random weights; its codewords have the spread of its latents."""
    tokenizer_config = TokenizerConfig(16, ConvConfig((8, 8), (1, 1), (1, 1)), quantizer, window, overlap)
    layers = quantizer.layers
    ladder = (LadderStep(1, len(layers)),)
    if quantizer.fill != "none":
        ladder = tuple(LadderStep(10 * keep, keep) for keep in range(1, len(layers) + 1))
    config = ModelConfig(name, tokenizer_config, "", "", "", layers, ladder)
    check_model(config, name)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        tokenizer = Tokenizer(tokenizer_config).eval()
        # Latents that use all codewords, and a decoder whose output depends on them.
        tokenizer.encoder.head.weight.mul_(8)
        tokenizer.decoder.head.weight.mul_(3)
        state = {k: v.half().numpy() for k, v in tokenizer.state_dict().items() if not training_only(k)}
    return write_model(folder, config, state)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tmp_path_factory.mktemp("systems")
    for name, (quantizer, window, overlap) in SYSTEMS.items():
        write(base / name, name, quantizer, window, overlap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_MODELS", str(base))
        yield base


@pytest.fixture(scope="module")
def landscape() -> Image.Image:
    """640 x 427 px of gradients and waves."""
    y, x = np.mgrid[:427, :640].astype(np.float64)
    waves = 60 * np.sin(x / 23) * np.cos(y / 31)
    pixels = np.stack([x / 640 * 180, y / 427 * 180, (x + y) / 1067 * 180], -1) + waves[..., None] + 30
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def detail(landscape: Image.Image) -> Image.Image:
    """230 x 170 px of the landscape."""
    return landscape.crop((200, 100, 430, 270))


@pytest.mark.parametrize("name", SYSTEMS)
def test_round_trip_of_indices_and_picture(models: Path, landscape: Image.Image, name: str) -> None:
    tokens = vqcodec.tokenize(landscape, name)
    data = vqcodec.encode_tokens(tokens)
    found = vqcodec.decode_tokens(data)
    assert len(tokens.planes) == len(SYSTEMS[name][0].sizes)
    for a, b in zip(tokens.planes, found.planes, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(len(np.unique(plane)) > 3 for plane in tokens.planes)
    decoded = np.asarray(vqcodec.decode(data)).astype(int)
    assert decoded.shape == (427, 640, 3)
    assert abs(decoded - reconstruction(name, landscape)).max() <= 1
    assert vqcodec.verify(data).model == name


def reconstruction(name: str, image: Image.Image) -> np.ndarray:
    """Pixels of the tokenizer itself, in one piece, or blended window by window without the codec's code."""
    model, pixels = loading.load_model(name), np.asarray(image)
    config = model.config.tokenizer
    height, width = pixels.shape[:2]
    rects = window_rects(config, width, height) if config.window_px else [Rect(0, 432, 0, 640)]
    total, weights = np.zeros((2000, 2000, 3)), np.zeros((2000, 2000, 1))
    for rect in rects:
        x = torch.from_numpy(read_padded(pixels, rect).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            y = model.tokenizer.decode(model.tokenizer.encode(x))[0].clamp(-1, 1).permute(1, 2, 0).numpy()
        n, m = rect.shape
        near = [np.minimum(np.arange(k) + 0.5, k - 0.5 - np.arange(k)) / max(config.overlap, 0.5) for k in (n, m)]
        fade = np.minimum(near[0], 1)[:, None, None] * np.minimum(near[1], 1)[None, :, None]
        total[rect.y0 : rect.y1, rect.x0 : rect.x1] += y * fade
        weights[rect.y0 : rect.y1, rect.x0 : rect.x1] += fade
    mean = total[:height, :width] / weights[:height, :width]
    return np.rint((mean + 1) * 127.5).clip(0, 255).astype(int)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_region_is_a_part_of_the_picture(models: Path, detail: Image.Image, name: str) -> None:
    data = vqcodec.encode(detail, name)
    whole = np.asarray(vqcodec.decode(data)).astype(int)
    for x, y, w, h in ((0, 0, 1, 1), (60, 90, 150, 40), (220, 163, 10, 7)):
        part = np.asarray(vqcodec.decode(data, region=(x, y, w, h))).astype(int)
        assert abs(part - whole[y : y + h, x : x + w]).max() <= 1


@pytest.mark.parametrize("name", [n for n, (quantizer, _, _) in SYSTEMS.items() if quantizer.fill != "none"])
def test_layers_refine_the_picture(models: Path, detail: Image.Image, name: str) -> None:
    """Prefixes of file and of tokens decode to the same picture."""
    data = vqcodec.encode(detail, name)
    n = len(vqcodec.inspect(data).layers)
    assert n > 1
    steps = list(vqcodec.previews(data))
    assert [step.keep for step in steps] == list(range(1, n + 1))
    for keep, step in enumerate(steps, 1):
        shown = np.asarray(vqcodec.decode(data, keep=keep))
        np.testing.assert_array_equal(shown, np.asarray(step.image))
        np.testing.assert_array_equal(shown, np.asarray(vqcodec.decode(vqcodec.truncate(data, keep=keep))))
    np.testing.assert_array_equal(np.asarray(steps[-1].image), np.asarray(vqcodec.decode(data)))
    assert any((np.asarray(a.image) != np.asarray(b.image)).any() for a, b in zip(steps, steps[1:], strict=False))
    smaller = vqcodec.encode(detail, name, keep=1)
    np.testing.assert_array_equal(np.asarray(vqcodec.decode(smaller)), np.asarray(steps[0].image))


def test_layers_without_a_fill_are_kept_whole(
    tmp_path: Path, detail: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path.parent))
    config = write(tmp_path, "branches", SplitConfig(2, VQConfig(16, 4, "unit")))
    two = structs.replace(config, layers=((0,), (1,)), ladder=())
    tensors = loading.load_model(str(tmp_path)).tensors
    write_model(tmp_path, two, tensors)
    data = vqcodec.encode(detail, str(tmp_path))
    for refused in (
        lambda: vqcodec.decode(data, keep=1),
        lambda: vqcodec.encode(detail, str(tmp_path), keep=1),
    ):
        with pytest.raises(UsageError, match=r"^keep 1: model 'branches' has no fill for missing layers; keep all 2$"):
            refused()


@pytest.mark.parametrize("name", ["multi-scale", "soft-vq", "product-of-residual"])
def test_a_budget_cuts_within_a_layer(models: Path, detail: Image.Image, name: str) -> None:
    data = vqcodec.encode(detail, name)
    ends = [layer.end for layer in vqcodec.inspect(data).layers]
    budget = (ends[0] + ends[1]) // 2
    cut = vqcodec.truncate(data, max_bytes=budget)
    assert len(cut) <= budget
    assert vqcodec.decode(cut).size == detail.size
    torn = vqcodec.decode(data[:budget], allow_partial=True)
    assert torn.info["incomplete"]


@pytest.mark.parametrize("size", [(1, 1), (15, 300), (128, 128), (129, 240), (241, 100)])
@pytest.mark.parametrize("name", ["multi-scale", "soft-vq"])
def test_pictures_of_any_size(models: Path, name: str, size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[1], : size[0]]
    image = Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8))
    data = vqcodec.encode(image, name)
    header = read(data).header
    assert vqcodec.decode(data).size == size
    info = vqcodec.inspect(data)
    assert info.overhead_bytes <= 32 + 6 * info.n_tiles * len(info.layers)
    config = registry.find(name).config.tokenizer
    assert (header.tile, header.overlap, header.n_tiles) == (
        config.window_px,
        config.overlap,
        len(access_tiles(header, config)),
    )


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([(64, 0), (96, 16), (128, 64), (256, 32)]))
@settings(max_examples=60)
def test_windows_cover_every_pixel(width: int, height: int, window: tuple[int, int]) -> None:
    side, overlap = window
    config = TokenizerConfig(16, ConvConfig((8, 8), (1, 1), (1, 1)), MultiScaleConfig((1, 2), VQ), side, overlap)
    rects = window_rects(config, width, height)
    header = Header(width, height, b"6bytes", b"four", side, 1, overlap=overlap)
    assert len(rects) == header.n_tiles
    covered = np.zeros((height, width), int)
    for rect in rects:
        assert rect.shape == (side, side)
        covered[rect.slices] += 1
        assert rect.y1 <= max(height, side)
        assert rect.x1 <= max(width, side)
    assert covered.min() >= 1
    assert plane_shapes(config, width, height) == [(len(rects), *shape) for shape in config.window_shapes()]


class Plain(torch.nn.Module):
    """Tokenizer replacement: pixels in 16 levels plus a constant error, whose sign alternates between windows."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def encode(self, x: Tensor, rate: float = 1.0) -> list[Tensor]:
        return [((x + 1) * 127.5).round().long().flatten(1)]

    def decode(self, planes: list[Tensor]) -> Tensor:
        x = planes[0].reshape(len(planes[0]), 3, 64, 64).float()
        self.calls += 1
        signs = torch.tensor([1.0, -1])[torch.arange(len(x)) % 2]
        return (x + self.error * signs[:, None, None, None]) / 127.5 - 1


def plain_model(error: float, overlap: int) -> Any:
    quantizer = SimpleNamespace(shapes=lambda grid: ((3 * 64 * 64,),))
    config: Any = structs.replace(
        TokenizerConfig(16, ConvConfig((8, 8), (1, 1), (1, 1)), VQ, 64, overlap), quantizer=quantizer
    )
    return SimpleNamespace(tokenizer=Plain(error), config=SimpleNamespace(tokenizer=config), device="cpu", stride=16)


def largest_step(pixels: np.ndarray) -> int:
    """Largest difference of neighbouring pixels, levels."""
    wide = pixels.astype(int)
    return max(int(abs(np.diff(wide, axis=axis)).max()) for axis in (0, 1))


def gradient(size: int = 300) -> np.ndarray:
    """uint8 [H, W, 3] that rises by at most one level from pixel to pixel."""
    y, x = np.mgrid[:size, :size]
    return np.stack([(x + y) / 3, x / 2 + 20, y / 2 + 40], -1).astype(np.uint8)


def test_a_gradient_passes_windows_unchanged() -> None:
    model, pixels = plain_model(0, 16), gradient()
    planes = networks.pixels_to_planes(model, pixels)
    whole = Rect(0, 300, 0, 300)
    np.testing.assert_array_equal(networks.planes_to_pixels(model, planes, whole), pixels)


def test_blending_leaves_no_seam() -> None:
    """Windows with different errors of up to 6 levels blend without a step of more than 2 levels."""
    pixels, whole = gradient(), Rect(0, 300, 0, 300)
    steps: Callable[[int], int] = lambda overlap: largest_step(  # noqa: E731
        networks.planes_to_pixels(model := plain_model(6, overlap), networks.pixels_to_planes(model, pixels), whole)
    )
    assert largest_step(pixels) == 1
    assert steps(32) <= 2
    assert steps(0) >= 12


def test_quantizers_without_codebooks_are_told_apart_by_their_encoders(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "a", FSQConfig((5, 5)))
    tensors = dict(loading.load_model(str(tmp_path / "a")).tensors)
    other = tensors | {"encoder.head.bias": tensors["encoder.head.bias"] + 1}
    decoder = tensors | {"decoder.head.bias": tensors["decoder.head.bias"] + 1}
    assert identity.token_identity(first, other).hex() != first.token_id
    assert identity.token_identity(first, decoder).hex() == first.token_id


def test_training_settings_are_not_part_of_the_identity(tmp_path: Path) -> None:
    config = write(tmp_path, "x", ResidualConfig(2, VQ, dropout=0.5))
    tensors = loading.load_model(str(tmp_path)).tensors
    plain = structs.replace(config, tokenizer=structs.replace(config.tokenizer, quantizer=ResidualConfig(2, VQ)))
    shared = structs.replace(
        config, tokenizer=structs.replace(config.tokenizer, quantizer=ResidualConfig(2, VQ, shared=True))
    )
    assert identity.token_identity(plain, tensors).hex() == config.token_id
    assert identity.token_identity(shared, tensors).hex() != config.token_id


def test_the_text_of_tokens_is_short() -> None:
    planes = (np.zeros((10, 13), np.int32), np.zeros((10, 13), np.int32))
    tokens = Tokens(planes, 200, 150, "tiny", ((0,), (1,)), icc=b"profile")
    assert repr(tokens) == "<Tokens 200x150, model 'tiny', 2 layers, 2 of 2 planes, the first int32 [10, 13], icc>"
    assert "1 of 2 planes" in repr(tokens.kept(1))
