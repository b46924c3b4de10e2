"""Index selection: the nearest codewords at weight 0, fewer bits above it, and segments of the selected planes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tests.context_models import LAYERS, SIZES, a_prior
from vqcodec.encoder.index_selection import Selection, select_indices
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.tile_segments import decode_tiles, encode_tiles

SHAPE = (9, 7)
SHAPES = [(SHAPE,) * 3] * 2 + [((4, 4),) * 3]

rng = np.random.default_rng(3)
TARGETS = [[rng.normal(size=(*shape, 4)).astype(np.float32) for shape in tile] for tile in SHAPES]
CODEBOOKS = [rng.normal(size=(size, 4)).astype(np.float32) for size in SIZES]


def distances(tile: int, s: int, positions: np.ndarray) -> np.ndarray:
    here = TARGETS[tile][s].reshape(-1, 4)[positions]
    return np.square(here[:, None] - CODEBOOKS[s]).sum(-1)


def measure(tile: int, s: int, _: object) -> Callable[[np.ndarray], np.ndarray]:
    return partial(distances, tile, s)


def nearest() -> list[list[np.ndarray]]:
    return [
        [
            distances(t, s, np.arange(np.prod(shape))).argmin(1).reshape(shape).astype(np.int32)
            for s, shape in enumerate(tile)
        ]
        for t, tile in enumerate(SHAPES)
    ]


def selected(model: ContextModel, weight: float) -> list[Selection]:
    return select_indices(model, measure, np.full(3, weight), SHAPES, LAYERS)


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors())


def test_weight_zero_selects_the_nearest_codeword(model: ContextModel) -> None:
    for tile, right in zip(selected(model, 0), nearest(), strict=True):
        for plane, expected in zip(tile.planes, right, strict=True):
            np.testing.assert_array_equal(plane, expected)


def test_a_larger_weight_saves_bits_at_larger_distance(model: ContextModel) -> None:
    nearest_, cheaper = selected(model, 0), selected(model, 0.5)
    assert sum(tile.plane_bits.sum() for tile in cheaper) < 0.9 * sum(tile.plane_bits.sum() for tile in nearest_)
    assert sum(tile.distances.sum() for tile in cheaper) > sum(tile.distances.sum() for tile in nearest_)


def test_bits_and_distances_are_those_of_the_planes_that_are_coded(model: ContextModel) -> None:
    tiles = selected(model, 0.2)
    planes = [tile.planes for tile in tiles]
    segments = encode_tiles(model, planes, LAYERS)
    for t, (tile, found) in enumerate(zip(tiles, decode_tiles(model, segments, SHAPES, LAYERS), strict=True)):
        for s in range(3):
            np.testing.assert_array_equal(found[s], tile.planes[s])
            per_code = distances(t, s, np.arange(found[s].size))
            there = per_code[np.arange(found[s].size), found[s].ravel()].sum()
            assert tile.distances[s] == pytest.approx(there, rel=1e-5)
        assert 0 <= 8 * sum(map(len, segments[t])) - tile.plane_bits.sum() <= 66


def test_every_index_has_the_least_cost_in_its_context(model: ContextModel) -> None:
    """Each index has the least cost under the frequencies of the coding path, which selection does not use."""
    [tile] = select_indices(model, measure, np.full(3, 0.3), SHAPES[:1], LAYERS)

    class Witness:
        def __init__(self) -> None:
            self.order = [(s, y, x) for s in range(3) for y, x in ((0, 0), (1, 1), (0, 1), (1, 0))]

        def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
            s, y, x = self.order.pop(0)
            at = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE)[y::2, x::2].ravel()
            bits = np.log2(rows.sum(1, dtype=np.float64))[:, None] - np.log2(rows)
            np.testing.assert_array_equal((distances(0, s, at) + 0.3 * bits).argmin(1), symbols)

        def end_layer(self) -> None:
            """Nothing."""

    model.code_tiles([Witness()], [[plane.copy() for plane in tile.planes]], LAYERS)  # type: ignore[list-item]


def test_weights_by_tile_and_plane(model: ContextModel) -> None:
    right = nearest()
    weights = np.zeros((3, 3))
    weights[0], weights[1, 2] = 0.5, 0.5
    first, second, third = select_indices(model, measure, weights, SHAPES, LAYERS)
    assert (first.planes[0] != right[0][0]).any()
    np.testing.assert_array_equal(second.planes[1], right[1][1])
    assert (second.planes[2] != right[1][2]).any()
    np.testing.assert_array_equal(third.planes[2], right[2][2])


def test_other_layers_are_left_at_zero(model: ContextModel) -> None:
    [tile] = select_indices(model, measure, np.zeros(3), SHAPES[:1], LAYERS[:2])
    np.testing.assert_array_equal(tile.planes[1], nearest()[0][1])
    assert tile.plane_bits[2] == 0
    assert not tile.planes[2].any()
