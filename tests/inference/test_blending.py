"""Compute windows of networks with unbounded receptive field: geometry, blending and declaration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs, to_builtins
from PIL import Image

import vqcodec
from vqcodec.config.backbones import VqganConfig
from vqcodec.config.model import TokenizerConfig, check_tokenizer
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.config.reading import read
from vqcodec.errors import LimitError, ModelError
from vqcodec.geometry.rectangles import Rect, grid_size
from vqcodec.importing.release import SYSTEMS, find_release, import_release
from vqcodec.inference import networks
from vqcodec.inference.blending import Axis, axis_of, blended, equal_spans, inner_spans
from vqcodec.models import identity, loading, registry
from vqcodec.train.recipe.load import RECIPES, load_recipe, read_tree
from vqcodec.train.stepped.recipe import is_stepped

from ..importing.test_importing import released, small
from ..tokens.test_tokens import gradient, largest_step

pytestmark = pytest.mark.slow

WINDOW, OVERLAP = 96, 32
WIDTH, HEIGHT = 333, 190

lengths, pairs = st.integers(1, 400), st.sampled_from([(8, 0), (8, 4), (10, 3), (64, 4), (3, 1)])


# Geometry


@given(lengths, pairs)
def test_windows_are_equal_overlap_and_end_where_the_picture_does(length: int, pair: tuple[int, int]) -> None:
    longest, overlap = pair
    spans = equal_spans(length, longest, overlap)
    assert len({end - start for start, end in spans}) == 1
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert spans[0][1] <= longest
    assert all(a[1] - b[0] >= overlap for a, b in zip(spans, spans[1:], strict=False))
    # With one window fewer, the windows would exceed `longest`.
    assert len(spans) == 1 or (len(spans) - 1) * (longest - overlap) + overlap < length
    parts = inner_spans(spans)
    assert [start for start, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert all(a <= c < d <= b for (a, b), (c, d) in zip(spans, parts, strict=True))


@given(lengths, pairs)
def test_shares_sum_to_one_everywhere(length: int, pair: tuple[int, int]) -> None:
    axis = axis_of(equal_spans(length, *pair), pair[1])
    total = np.zeros(length)
    for (start, end), share in zip(axis.spans, axis.shares, strict=True):
        total[start:end] += share
    np.testing.assert_allclose(total, 1, atol=1e-6)


def axes(height: int, width: int, pair: tuple[int, int]) -> tuple[Axis, Axis]:
    rows, columns = (axis_of(equal_spans(length, *pair), pair[1]) for length in (height, width))
    return rows, columns


@given(st.integers(1, 60), st.integers(1, 60), pairs, st.data())
@settings(max_examples=60)
def test_windows_of_a_picture_blend_to_that_picture(
    height: int, width: int, pair: tuple[int, int], data: st.DataObject
) -> None:
    rows, columns = axes(height, width, pair)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    area = Rect(y0, data.draw(st.integers(y0 + 1, height)), x0, data.draw(st.integers(x0 + 1, width)))
    whole = np.random.default_rng(height * width).standard_normal((2, height, width)).astype(np.float32)
    made = []

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            made.append((i, j))
            yield whole[:, slice(*rows.spans[i]), slice(*columns.spans[j])]

    top = area.y0
    for place, band in blended(area, rows, columns, make):
        assert (place.y0, place.x0, place.x1) == (top, area.x0, area.x1)
        assert band.shape[1] <= min(pair[0], area.shape[0])
        np.testing.assert_allclose(band, whole[:, *place.slices], atol=1e-5)
        top = place.y1
    assert top == area.y1
    # Windows outside the area are not computed.
    assert made == [(i, j) for i in rows.touching(area.y0, area.y1) for j in columns.touching(area.x0, area.x1)]


# Models


def windowed(name: str, folder: Path, window: int = WINDOW, overlap: int = OVERLAP) -> loading.Model:
    """Imported tiny model of a release with compute windows, or of a CNN whose configuration has none."""
    system, config = find_release(name)[0], small(name)
    config = structs.replace(config, window=0, overlap=0, compute_window=window, compute_overlap=overlap)
    import_release(system, config, released(system, config), folder, name)
    return loading.load(registry.find(str(folder)))


@pytest.fixture(scope="module", params=["mgvq-f16c32-g4", "xqgan-cnn-16384"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> loading.Model:
    return windowed(request.param, tmp_path_factory.mktemp("windowed") / "model")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    image = Image.fromarray(data.chelsea()).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(image)


def to_float(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels)[None].permute(0, 3, 1, 2).float() / 127.5 - 1


def spans_by_hand(steps: int) -> list[tuple[int, int]]:
    """Windows of at most 6 steps of 16 px that overlap by at least 2 steps, written out."""
    return {21: [(0, 6), (3, 9), (7, 13), (11, 17), (15, 21)], 12: [(0, 6), (3, 9), (6, 12)]}[steps]


def weights_by_hand(spans: list[tuple[int, int]], unit: int) -> list[np.ndarray]:
    """Normalised weights of each window along an axis, in units of 16 / `unit` px; a ramp over the overlap."""
    raw = []
    for start, end in spans:
        at = np.arange(start * unit, end * unit) + 0.5
        weight = np.zeros(spans[-1][1] * unit)
        weight[start * unit : end * unit] = np.minimum(
            1, np.minimum(at - start * unit, end * unit - at) / (OVERLAP // 16 * unit)
        )
        raw.append(weight)
    return [weight / sum(raw) for weight in raw]


def by_hand(model: loading.Model, pixels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Reference planes and picture of a network, computed with all windows in memory."""
    h, w = grid_size(WIDTH, HEIGHT, 16)
    padded = np.pad(pixels, ((0, 16 * h - HEIGHT), (0, 16 * w - WIDTH), (0, 0)), mode="edge")
    latent: Any = 0
    picture: Any = 0
    with torch.inference_mode():
        places = [
            (slice(16 * a, 16 * b), slice(16 * c, 16 * d), y, x)
            for (a, b), y in zip(spans_by_hand(h), weights_by_hand(spans_by_hand(h), 1), strict=True)
            for (c, d), x in zip(spans_by_hand(w), weights_by_hand(spans_by_hand(w), 1), strict=True)
        ]
        for rows, columns, y, x in places:
            z = np.zeros((model.tokenizer.channels, h, w))
            z[:, rows.start // 16 : rows.stop // 16, columns.start // 16 : columns.stop // 16] = (
                model.tokenizer.encoder(to_float(padded[rows, columns]))[0].numpy()
            )
            latent = latent + z * np.outer(y, x)
        planes = model.tokenizer.quantizer.quantize(torch.tensor(latent)[None].float())
        fine = [weights_by_hand(spans_by_hand(n), 16) for n in (h, w)]
        for (a, b), y in zip(spans_by_hand(h), fine[0], strict=True):
            for (c, d), x in zip(spans_by_hand(w), fine[1], strict=True):
                shown = np.zeros((3, 16 * h, 16 * w))
                part = model.tokenizer.decode([plane[:, a:b, c:d] for plane in planes])
                shown[:, 16 * a : 16 * b, 16 * c : 16 * d] = part[0].clamp(-1, 1).numpy()
                picture = picture + shown * np.outer(y, x)
    return [plane[0].numpy() for plane in planes], ((picture + 1) * 127.5).transpose(1, 2, 0)[:HEIGHT, :WIDTH]


def test_latents_and_pixels_are_blended(model: loading.Model, pixels: np.ndarray) -> None:
    expected, picture = by_hand(model, pixels)
    planes = networks.pixels_to_planes(model, pixels)
    assert {plane.shape for plane in planes} == {grid_size(WIDTH, HEIGHT, 16)}
    different = sum(int((a != b).sum()) for a, b in zip(planes, expected, strict=True))
    assert different <= sum(plane.size for plane in planes) // 100  # near-ties
    shown = networks.planes_to_pixels(model, expected, Rect(0, HEIGHT, 0, WIDTH)).astype(int)
    assert np.abs(shown - picture).max() <= 1


def test_the_network_never_sees_more_than_a_window(model: loading.Model, pixels: np.ndarray) -> None:
    sizes: list[int] = []
    hooks = [
        model.tokenizer.encoder.register_forward_hook(lambda _, x, y: sizes.append(x[0][0, 0].numel())),
        model.tokenizer.decoder.register_forward_hook(lambda _, x, y: sizes.append(y[0, 0].numel())),
    ]
    planes = networks.pixels_to_planes(model, pixels)
    networks.planes_to_pixels(model, planes, Rect(0, HEIGHT, 0, WIDTH))
    for hook in hooks:
        hook.remove()
    assert max(sizes) <= WINDOW**2
    assert len(sizes) == 2 * 3 * 5


@pytest.mark.parametrize("area", [Rect(0, 1, 0, 1), Rect(40, 150, 90, 260), Rect(189, 190, 332, 333)])
def test_a_region_is_the_same_part_of_the_whole(model: loading.Model, pixels: np.ndarray, area: Rect) -> None:
    planes = networks.pixels_to_planes(model, pixels)
    whole = networks.planes_to_pixels(model, planes, Rect(0, HEIGHT, 0, WIDTH))
    needed = networks.pixels_needed(model, area, (WIDTH, HEIGHT))
    known = needed.inside(Rect(0, 0, 0, 0))
    steps = (slice(known.y0 // 16, known.y1 // 16), slice(known.x0 // 16, known.x1 // 16))
    partly = []
    for plane in planes:
        partly.append(np.full_like(plane, -1))
        partly[-1][steps] = plane[steps]
    np.testing.assert_array_equal(networks.planes_to_pixels(model, partly, area), whole[area.slices])


def test_a_picture_of_no_more_than_a_window_is_seen_whole(model: loading.Model, pixels: np.ndarray) -> None:
    """The limit is an area: 144 x 64 px equal 96 x 96 px."""
    part = pixels[:64, :144]
    with torch.inference_mode():
        expected = model.tokenizer.encode(to_float(part))
    for plane, other in zip(networks.pixels_to_planes(model, part), expected, strict=True):
        np.testing.assert_array_equal(plane, other[0].numpy())


def with_windows(model: loading.Model, window: int, overlap: int) -> loading.Model:
    """Copy of the model with other compute windows."""
    other = copy(model)
    tokenizer = structs.replace(model.config.tokenizer, compute_window=window, compute_overlap=overlap)
    other.config = structs.replace(model.config, tokenizer=tokenizer)
    return other


def test_windows_and_the_whole_agree_in_part(model: loading.Model, pixels: np.ndarray) -> None:
    """Attention and normalisation over a window change some indices, but fewer than three quarters."""
    planes, others = (networks.pixels_to_planes(with_windows(model, *sides), pixels) for sides in ((192, 64), (0, 0)))
    share = np.mean([(a == b).mean() for a, b in zip(planes, others, strict=True)])
    assert 0.25 < share < 1


def test_a_file_by_every_step(model: loading.Model, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(model.entry.folder.parent))
    data = vqcodec.encode(pixels, model.config.name)
    for plane, other in zip(vqcodec.decode_tokens(data).planes, networks.pixels_to_planes(model, pixels), strict=True):
        np.testing.assert_array_equal(plane, other)
    steps = list(vqcodec.previews(data))
    assert len(steps) == len(model.layers)
    assert steps[-1].image.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(steps[0].image), np.asarray(vqcodec.decode(data, keep=1)))
    part = np.asarray(vqcodec.decode(data, region=(100, 20, 50, 60)))
    np.testing.assert_array_equal(part, np.asarray(steps[-1].image)[20:80, 100:150])


def test_windows_are_no_part_of_the_identity(model: loading.Model) -> None:
    plain = with_windows(model, 0, 0).config
    assert identity.token_identity(plain, model.tensors).hex() == model.config.token_id


class Uneven(torch.nn.Module):
    """Network that returns its input plus a constant error, whose sign alternates between windows."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + (self.error / 127.5) * (-1) ** self.calls


@pytest.mark.parametrize(("overlap", "least", "most"), [(32, 1, 2), (0, 12, 13)])
def test_neighbours_that_disagree_leave_no_seam(
    model: loading.Model, monkeypatch: pytest.MonkeyPatch, overlap: int, least: int, most: int
) -> None:
    """Windows with errors of +6 and -6 levels blend without a step of more than 2 levels."""
    image = gradient(240)
    other = with_windows(model, WINDOW, overlap)
    uneven = Uneven(6)
    monkeypatch.setattr(model.tokenizer, "decode", lambda planes: uneven(wide(planes[0], image)))
    place = np.arange(15 * 15, dtype=np.int32).reshape(15, 15)
    shown = networks.planes_to_pixels(other, [place], Rect(0, 240, 0, 240))
    assert largest_step(image) == 1
    assert least <= largest_step(shown) <= most
    # Blending adds at most rounding to the error of the windows.
    assert np.abs(shown.astype(int) - image).max() <= 7


def wide(plane: torch.Tensor, image: np.ndarray) -> torch.Tensor:
    """Plane [1, h, w] of position numbers in a grid of 15 x 15 -> their pixels [1, 3, H, W] in -1..1."""
    y, x = divmod(int(plane[0, 0, 0]), 15)
    h, w = plane.shape[1:]
    return to_float(image[16 * y : 16 * (y + h), 16 * x : 16 * (x + w)])


def test_a_latent_of_windows_that_disagree_has_no_step(model: loading.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model.tokenizer._modules, "encoder", Shifted(model.tokenizer.channels))
    latent = networks.pixels_to_latent(model, np.zeros((240, 240, 3), np.uint8))
    steps = max(float(np.abs(np.diff(latent, axis=axis)).max()) for axis in (1, 2))
    assert 0.5 < np.ptp(latent) <= 2
    assert steps <= 1.01


class Shifted(torch.nn.Module):
    """Encoder whose latent is constant, alternately 1 and -1 from window to window."""

    halo = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.calls = channels, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.full((1, self.channels, x.shape[2] // 16, x.shape[3] // 16), (-1.0) ** self.calls)


# Declaration


def test_large_pictures_need_windows_or_are_refused(
    model: loading.Model, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "MAX_WHOLE_PX", 200 * 150)
    with pytest.raises(LimitError, match=r"336x192 pixels: .*compute_window"):
        networks.pixels_to_planes(with_windows(model, 0, 0), pixels)
    assert networks.pixels_to_planes(model, pixels)[0].shape == (12, 21)


def test_networks_that_see_all_at_once_come_with_windows() -> None:
    """All releases and recipes have a bounded halo, windows or compute windows."""
    configs = {name: config for system in SYSTEMS for name, config in system.releases.items()}
    for path in RECIPES.glob("*.toml"):
        if not path.stem.endswith("-prior") and not is_stepped(read_tree(path.stem)):
            configs[path.name] = load_recipe(str(path)).tokenizer
    found = [name for name, config in configs.items() if config.compute_window]
    assert {"mgvq-f16c32-g8", "mgvq-f8c32-g4", "mgvq-f16-g4.toml", "mgvq-f32-g8.toml"} <= set(found)
    for name, config in configs.items():
        check_tokenizer(config, name)
        assert config.backbone.kind == "conv" or config.window_px or config.compute_window, name


@pytest.mark.parametrize(
    ("window", "overlap", "changes", "message"),
    [
        (100, 0, {}, "compute_window: multiples of 16"),
        (4096, 0, {}, "compute_window: .*2048"),
        (-16, 0, {}, "compute_window: .*0"),
        (512, 272, {}, "compute_overlap: multiples of 16, at most half"),
        (512, 8, {}, "compute_overlap: multiples of 16"),
        (0, 16, {}, "compute_overlap"),
        (512, 64, {"window": 256}, "compute_window: 0 needed"),
    ],
)
def test_windows_that_cannot_be_are_refused(window: int, overlap: int, changes: Any, message: str) -> None:
    config = to_builtins(TokenizerConfig(16, VqganConfig(), ProductVQConfig(1, 16, 8)))
    with pytest.raises(ModelError, match=message):
        check_tokenizer(
            read(TokenizerConfig, config | changes | {"compute_window": window, "compute_overlap": overlap}), "x"
        )
