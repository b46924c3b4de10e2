"""Rate-aware choice: nearest codewords for nothing, fewer bits for a price, and what is chosen is what is coded."""

from __future__ import annotations

import numpy as np
import pytest

from tests.entropy.test_prior import LAYERS, SIZES, a_prior
from vqcodec.encoder.index_selection import Choice, choose_tiles
from vqcodec.entropy.adaptive_tables import AdaptiveTables
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.tiles import EntropyModel, decode_tiles, encode_tiles

SHAPE = (9, 7)
SHAPES = [(SHAPE,) * 3] * 2 + [((4, 4),) * 3]

rng = np.random.default_rng(3)
TARGETS = [[rng.normal(size=(*shape, 4)).astype(np.float32) for shape in tile] for tile in SHAPES]
CODEBOOKS = [rng.normal(size=(size, 4)).astype(np.float32) for size in SIZES]


def distances(tile: int, s: int, positions: np.ndarray, _: object = None) -> np.ndarray:
    here = TARGETS[tile][s].reshape(-1, 4)[positions]
    return np.square(here[:, None] - CODEBOOKS[s]).sum(-1)


def nearest() -> list[list[np.ndarray]]:
    return [
        [
            distances(t, s, np.arange(np.prod(shape))).argmin(1).reshape(shape).astype(np.int32)
            for s, shape in enumerate(tile)
        ]
        for t, tile in enumerate(SHAPES)
    ]


def chosen(model: EntropyModel, price: float, **how: object) -> list[Choice]:
    return choose_tiles(model, distances, np.full(3, price), SHAPES, LAYERS, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["context", "adaptive"])
def model(request: pytest.FixtureRequest) -> EntropyModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors()) if request.param == "context" else AdaptiveTables(SIZES)


def test_without_a_price_the_nearest_codeword_is_taken(model: EntropyModel) -> None:
    for tile, right in zip(chosen(model, 0, start=nearest()), nearest(), strict=True):
        for plane, expected in zip(tile.planes, right, strict=True):
            np.testing.assert_array_equal(plane, expected)


def test_a_price_buys_bits_for_distance(model: EntropyModel) -> None:
    free, dear = chosen(model, 0, start=nearest()), chosen(model, 0.5, start=nearest())
    least = 0.9 if isinstance(model, ContextModel) else 0.999  # tables know little of so few symbols
    assert sum(tile.bits.sum() for tile in dear) < least * sum(tile.bits.sum() for tile in free)
    assert sum(tile.distances.sum() for tile in dear) > sum(tile.distances.sum() for tile in free)


def test_bits_and_distances_are_those_of_the_planes_that_are_coded(model: EntropyModel) -> None:
    tiles = chosen(model, 0.2, start=nearest())
    planes = [tile.planes for tile in tiles]
    segments = encode_tiles(model, planes, LAYERS)
    for t, (tile, found) in enumerate(zip(tiles, decode_tiles(model, segments, SHAPES, LAYERS), strict=True)):
        for s in range(3):
            np.testing.assert_array_equal(found[s], tile.planes[s])
            per_code = distances(t, s, np.arange(found[s].size))
            there = per_code[np.arange(found[s].size), found[s].ravel()].sum()
            assert tile.distances[s] == pytest.approx(there, rel=1e-5)
        if isinstance(model, ContextModel):  # the tables' choice was made for the planes they started from
            assert 0 <= 8 * sum(map(len, segments[t])) - tile.bits.sum() <= 66


def test_every_choice_is_the_cheapest_in_its_context() -> None:
    """Frequencies from an encoder's run over the chosen planes, which is another path than the choice took."""
    model = ContextModel(SIZES, a_prior(spread=0.3).tensors())
    [tile] = choose_tiles(model, distances, np.full(3, 0.3), SHAPES[:1], LAYERS)

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


def test_prices_by_tile_plane_and_position() -> None:
    model = ContextModel(SIZES, a_prior(spread=0.3).tensors())
    right = nearest()
    prices = np.zeros((3, 3))
    prices[0], prices[1, 2] = 0.5, 0.5
    first, second, third = choose_tiles(model, distances, prices, SHAPES, LAYERS)
    assert (first.planes[0] != right[0][0]).any()
    np.testing.assert_array_equal(second.planes[1], right[1][1])
    assert (second.planes[2] != right[1][2]).any()
    np.testing.assert_array_equal(third.planes[2], right[2][2])
    weights = [[np.zeros(shape) for shape in tile] for tile in SHAPES]
    weights[1][0][3:] = 1
    _, second, _ = chosen(model, 0.5, weights=weights)
    np.testing.assert_array_equal(second.planes[0][:3], right[1][0][:3])
    assert (second.planes[0][3:] != right[1][0][3:]).any()


def test_layers_that_are_not_asked_for_are_left() -> None:
    model = ContextModel(SIZES, a_prior().tensors())
    [tile] = choose_tiles(model, distances, np.zeros(3), SHAPES[:1], LAYERS[:2])
    np.testing.assert_array_equal(tile.planes[1], nearest()[0][1])
    assert tile.bits[2] == 0
    assert not tile.planes[2].any()
