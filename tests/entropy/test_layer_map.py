"""Map of kept layers: its coding, and tiles coded with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.context_models import SIZES, a_prior, some_tiles
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.layer_map import code_map, full_map, kept_layers, map_bits, map_from_gaps, map_shape
from vqcodec.entropy.rans import TileDecoder, TileEncoder
from vqcodec.entropy.tile_segments import decode_tiles, encode_tiles
from vqcodec.planes import MISSING

LAYERS = [[0], [1, 2]]


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors())


def some_map(rng: np.random.Generator, shape: tuple[int, int], most: int = 2) -> np.ndarray:
    return rng.integers(0, most + 1, map_shape(shape)).astype(np.int32)


def dropped(planes: list[np.ndarray], kept: np.ndarray) -> list[np.ndarray]:
    """`planes`, MISSING where the map leaves layers out."""
    layer = {s: k for k, layer in enumerate(LAYERS) for s in layer}
    return [np.where(kept_layers(kept, p.shape) > layer[s], p, MISSING).astype(np.int32) for s, p in enumerate(planes)]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 13), width=st.integers(1, 13))
def test_round_trip_of_maps_and_planes(model: ContextModel, seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(height, width), (width, 3), (height, width), (1, height)]
    maps = [some_map(rng, shape) for shape in shapes[:3]] + [full_map(shapes[3])]
    tiles = [dropped(planes, kept) for planes, kept in zip(some_tiles(seed, shapes), maps, strict=True)]
    segments = encode_tiles(model, tiles, LAYERS, maps)
    for t, (tile, kept) in enumerate(zip(tiles, maps, strict=True)):
        assert encode_tiles(model, [tile], LAYERS, [kept]) == segments[t : t + 1]
    for keep in (1, 2):
        ending = "complete" if keep == 2 else "layer"
        given = [segment[:keep] for segment in segments]
        found = decode_tiles(model, given, [(shape,) * 3 for shape in shapes], LAYERS, ending, mapped=True)
        for ours, theirs in zip(tiles, found, strict=True):
            for s in (s for layer in LAYERS[:keep] for s in layer):
                np.testing.assert_array_equal(ours[s], theirs[s])
    for planes, kept in zip(tiles, maps, strict=True):
        seen = map_from_gaps(planes, LAYERS)
        np.testing.assert_array_equal(np.minimum(kept, 2), 2 if seen is None else seen)


def test_layers_left_out_take_no_bits(model: ContextModel) -> None:
    [planes] = some_tiles(1, [(12, 12)])
    nothing = np.zeros((3, 3), np.int32)
    [segments] = encode_tiles(model, [dropped(planes, nothing)], LAYERS, [nothing])
    assert sum(map(len, segments)) <= 8  # nine entries alike
    [whole] = encode_tiles(model, [planes], LAYERS)
    assert sum(map(len, whole)) > 100


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_a_cut_stream_holds_its_first_indices(model: ContextModel, seed: int, share: float) -> None:
    kept = some_map(np.random.default_rng(seed), (9, 10))
    [planes] = some_tiles(seed, [(9, 10)])
    tile = dropped(planes, kept)
    [segments] = encode_tiles(model, [tile], LAYERS, [kept])
    data = b"".join(segments)
    cut = [data[: 4 * int(share * len(data) / 4)], b""]
    [found] = decode_tiles(model, [cut], [((9, 10),) * 3], LAYERS, "cut", mapped=True)
    order = model.order((9, 10))
    ours, theirs = (np.concatenate([p.reshape(-1)[order] for p in planes]) for planes in (tile, found))
    there = ours != MISSING
    n_known = int((theirs != MISSING).sum())
    assert n_known >= share * there.sum() - 60  # the map, and what the state holds
    np.testing.assert_array_equal(theirs[there][:n_known], ours[there][:n_known])
    assert (theirs[there][n_known:] == MISSING).all()


def test_bits_of_a_map_are_those_of_its_stream() -> None:
    kept = np.repeat(np.repeat(some_map(np.random.default_rng(1), (40, 40), 16), 5, 0), 4, 1)
    coder = TileEncoder()
    code_map(coder, kept.copy())
    [segment] = coder.segments()
    assert abs(8 * len(segment) - map_bits(kept)) < 64
    found = np.full_like(kept, MISSING)
    code_map(TileDecoder([segment], cut=False), found)
    np.testing.assert_array_equal(found, kept)
    assert map_bits(kept) < map_bits(np.random.default_rng(2).permutation(kept.ravel()).reshape(kept.shape))


GOLDEN = [[0, 0, 0, 3, 3, 2, 0], [5, 1, 3, 15, 3, 4, 0], [3, 1, 4, 6, 0, 4, 0], [1, 5, 4, 12, 9, 3, 0]]


def test_golden_bytes_of_a_map() -> None:
    coder = TileEncoder()
    code_map(coder, np.array(GOLDEN, np.int32))
    assert coder.segments()[0].hex() == "88b93603e23f0ee0d3ad666494bec2ce"


def test_frequencies_are_those_of_format_md() -> None:
    """Frequencies of each entry, computed as FORMAT.md specifies."""

    class Recorder(TileEncoder):
        def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
            seen.append([int(f) for f in table])

    seen: list[list[int]] = []
    code_map(Recorder(), np.array(GOLDEN, np.int32))
    expected = []
    for y, row in enumerate(GOLDEN):
        for x in range(len(row)):
            before = [v for line in GOLDEN[:y] for v in line] + row[:x]
            near = ([GOLDEN[y - 1][x]] if y else []) + ([row[x - 1]] if x else [])
            expected.append([1 + 4 * before.count(v) + 12 * near.count(v) for v in range(17)])
    assert seen == expected


def test_other_gaps_are_refused(model: ContextModel) -> None:
    [planes] = some_tiles(1, [(9, 10)])
    assert map_from_gaps(planes, LAYERS) is None
    for s, place in ((1, np.s_[0:4, 0:4]), (0, np.s_[0:4, 0:4]), (2, np.s_[3, 3])):
        broken = [plane.copy() for plane in planes]
        broken[s][place] = MISSING
        with pytest.raises(ValueError, match="whole blocks"):
            map_from_gaps(broken, LAYERS)
