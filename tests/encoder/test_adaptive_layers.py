"""Adaptive layers: files that keep different numbers of layers in different blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import vqcodec
from tests.context_models import SIZES, a_prior
from tests.entropy.test_layer_map import LAYERS, some_map
from vqcodec import container
from vqcodec.encoder.adaptive_layers import AdaptiveLayers, select_maps
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.encoder.index_selection import select_indices
from vqcodec.encoder.measures import distortions
from vqcodec.encoder.selectors import merge_tiles
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.layer_map import kept_layers
from vqcodec.entropy.tile_segments import encode_tiles
from vqcodec.errors import FormatError, UsageError
from vqcodec.geometry.rectangles import Rect
from vqcodec.image.files import as_picture
from vqcodec.models.registry import find
from vqcodec.planes import MISSING
from vqcodec.tokens.tokens import write_tokens

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "samples" / "still_life.png"


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors())


def test_segments_of_a_selection_with_a_map_are_those_of_its_planes(model: ContextModel) -> None:
    rng = np.random.default_rng(3)
    grids = [(9, 10), (4, 3), (9, 10)]
    shapes, kept = (
        [(grid,) * 3 for grid in grids],
        [*(some_map(rng, grid) for grid in grids[:2]), np.zeros((3, 3), np.int32)],
    )
    latent = rng.random((3, 3, 90, max(SIZES)), np.float32)

    def measure(tile: int, s: int, chosen: object) -> Callable[[np.ndarray], np.ndarray]:
        return lambda at: latent[tile, s, at, : SIZES[s]]

    found = select_indices(model, measure, np.full(3, 0.05), shapes, LAYERS, coded=True, maps=kept)
    segments = encode_tiles(model, [selection.planes for selection in found], LAYERS, kept)
    assert [selection.segments for selection in found] == segments
    for selection, of_tile, grid in zip(found, kept, grids, strict=True):
        for s, plane in enumerate(selection.planes):
            gone = kept_layers(of_tile, grid) <= (s > 0)
            np.testing.assert_array_equal(plane == MISSING, gone)
            assert not selection.bits[s][gone].any()


def test_blocks_keep_the_layers_of_least_cost() -> None:
    cost = np.full((3, 8, 8), 9.0)
    cost[1, :, :4] = 1
    cost[2, :, 4:] = 1
    [kept] = select_maps([cost], 0.01) or [None]
    assert kept is not None
    assert kept.tolist() == [[1] * 4 + [16] * 4] * 8
    assert select_maps([cost], 100.0) is None  # the map costs more than it saves


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Two thirds of it are smooth, so that blocks of every processor's selection drop layers there."""
    with Image.open(SAMPLE) as image:
        found = image.convert("RGB").crop((0, 0, 600, 300))
    found.paste(found.crop((0, 0, 400, 300)).filter(ImageFilter.GaussianBlur(12)), (0, 0))
    return found


@pytest.fixture(scope="module")
def mapped(picture: Image.Image) -> bytes:
    """A small file with maps, of two tiles."""
    quality = find("product-vq").config.ladder[0].quality
    data = vqcodec.encode(picture, "product-vq", quality=quality, effort=7)
    assert container.read(data).header.mapped
    return data


@pytest.mark.slow
def test_files_with_maps(picture: Image.Image, mapped: bytes, tmp_path: Path) -> None:
    encoder = encoder_for(as_picture(picture), "product-vq", effort=7)
    step = encoder.ladder[0]
    tokens = encoder.tokens(step.lmbda, step.keep)
    found = vqcodec.decode_tokens(mapped)
    assert any((plane == MISSING).any() for plane in tokens.planes)
    for ours, theirs in zip(tokens.planes, found.planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert mapped == write_tokens(found, encoder.model)
    whole = np.asarray(vqcodec.decode(mapped))
    part = np.asarray(vqcodec.decode(mapped, region=(470, 100, 90, 80)))
    assert np.abs(whole[100:180, 470:560].astype(int) - part).max() <= 1
    for keep in (1, 3):
        cut = vqcodec.truncate(mapped, keep=keep)
        np.testing.assert_array_equal(np.asarray(vqcodec.decode(cut)), np.asarray(vqcodec.decode(mapped, keep=keep)))
    assert len(vqcodec.truncate(mapped, max_bytes=len(mapped) - 60)) <= len(mapped) - 60
    vqcodec.verify(mapped)


def test_adaptive_layers_lower_distortion_plus_bits() -> None:
    """The Lagrangian, with the decoder's distortion over the whole picture, decreases."""
    lmbda = 60.0
    with Image.open(SAMPLE) as image:
        picture = image.convert("RGB").crop((256, 256, 640, 576))
    encoder = encoder_for(as_picture(picture), "product-vq", effort=7)
    assert isinstance(encoder, IndexEncoder)
    final, tiles, layers = encoder.final_selector, encoder.tiles, encoder.model.layers[:8]
    assert isinstance(final, AdaptiveLayers)
    target = encoder.target(lmbda, layers)
    reduced, is_mapped = final.select(target, tiles, lmbda, layers, True)
    whole = final.inner.select(target, tiles, lmbda, layers, True)
    assert is_mapped
    area, costs, errors = Rect(0, picture.height, 0, picture.width), [], []
    for selections in (whole, reduced):
        planes = merge_tiles(target.grid, tiles, [selection.planes for selection in selections], layers)
        errors += distortions(encoder.model, encoder.picture, planes, [area])
        n_bytes = sum(len(segment) for selection in selections for segment in selection.segments)
        costs.append(errors[-1].relative_to(errors[0]) + target.error_per_bit * lmbda * 8 * n_bytes)
    assert costs[1] < costs[0]


def test_models_without_a_context_model_have_none(tiny_model: str, photo: Image.Image, mapped: bytes) -> None:
    tokens = vqcodec.tokenize(photo, tiny_model)
    planes = [plane.copy() for plane in tokens.planes]
    planes[-1][:4, :4] = MISSING
    with pytest.raises(UsageError, match="gaps"):
        vqcodec.encode_tokens(replace(tokens, planes=tuple(planes)))
    file = container.read(vqcodec.encode_tokens(tokens))
    header = replace(file.header, mapped=True)
    segments = [[segment or b"" for segment in layer] for layer in file.segments]
    with pytest.raises(FormatError, match="flags"):
        vqcodec.decode(container.write(header, segments))
