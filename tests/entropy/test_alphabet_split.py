"""Large alphabets coded as a high and a low part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.encoder.index_selection import select_indices
from vqcodec.entropy.alphabet_split import AlphabetSplit, split_by_similarity
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.tile_segments import decode_tiles, encode_tiles
from vqcodec.errors import FormatError
from vqcodec.planes import MISSING
from vqcodec.train.prior.report import measure
from vqcodec.train.prior.train_prior import Prior, PriorRecipe, train_prior

SIZES = (1500, 6, 2048)
LAYERS = [[0], [1], [2]]
RECIPE = PriorRecipe(model="", train=(), steps=50, batch=2, crop=8, units=16, lr=3e-2)


def some_codewords(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> ContextModel:
    prior = Prior(SIZES, 8, splits=[split_by_similarity(size, some_codewords(size)) for size in SIZES])
    return ContextModel(SIZES, prior.tensors())


def some_tile(shape: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, size, shape).astype(np.int32) for size in SIZES]


@given(st.integers(2, 5000), st.integers(0, 2**32 - 1))
def test_divide_and_join_are_inverse(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    split = AlphabetSplit(rng.permutation(size), 2 + seed % 60)
    plane = rng.integers(-1, size, (3, 4)).astype(np.int32)
    parts = split.divide(plane)
    for part, alphabet in zip(parts, split.sizes, strict=True):
        assert part.max() < alphabet
    np.testing.assert_array_equal(split.join(*parts), plane)


def test_only_large_alphabets_are_split() -> None:
    assert split_by_similarity(1024).sizes == (1024,)
    assert split_by_similarity(1025).sizes == (17, 64)
    assert split_by_similarity(16384).sizes == (128, 128)
    assert sorted(split_by_similarity(1500, some_codewords(1500)).rank.tolist()) == list(range(1500))


def test_ranks_place_similar_codewords_together() -> None:
    codewords = some_codewords(2048)
    split = split_by_similarity(2048, codewords)
    spread = codewords[split.by_rank].reshape(-1, split.low, 3).var(1).mean()
    assert spread < 0.4 * codewords.var(0).mean()


def test_round_trip_of_every_layer_prefix(model: ContextModel) -> None:
    assert model.coded_sizes == (24, 64, 6, 32, 64)
    tiles = [some_tile((7, 6), seed) for seed in range(2)]
    segments = encode_tiles(model, tiles, LAYERS)
    for keep in (1, 2, 3):
        kept = [tile[:keep] for tile in segments]
        found = decode_tiles(model, kept, [((7, 6),) * 3] * 2, LAYERS, "complete" if keep == 3 else "layer")
        for tile, planes in zip(tiles, found, strict=True):
            for s in range(3):
                np.testing.assert_array_equal(planes[s], tile[s] if s < keep else MISSING)


def test_a_cut_stream_holds_only_correct_indices(model: ContextModel) -> None:
    tile = some_tile((8, 8))
    [segments] = encode_tiles(model, [tile], LAYERS)
    data, most = b"".join(segments), 0
    for end in range(4, len(data), 12):
        [found] = decode_tiles(model, [[data[:end], b"", b""]], [((8, 8),) * 3], LAYERS, "cut")
        for plane, right in zip(found, tile, strict=True):
            there = plane != MISSING
            np.testing.assert_array_equal(plane[there], right[there])
            most = max(most, int(there.sum()))
    assert most == 64


def test_ranks_beyond_the_alphabet_are_damage() -> None:
    with pytest.raises(FormatError, match="beyond its alphabet"):
        AlphabetSplit(np.arange(10), 4).join(np.array([2]), np.array([3]))


def test_selection_of_high_and_low_parts(model: ContextModel) -> None:
    books = [some_codewords(size) for size in SIZES]
    targets = [np.random.default_rng(s).normal(size=(30, 3)).astype(np.float32) for s in range(3)]

    def measure(_: int, s: int, __: object = None) -> Callable[[np.ndarray], np.ndarray]:
        return lambda positions: np.square(targets[s][positions][:, None] - books[s]).sum(-1)

    shapes = [((5, 6),) * 3]
    [free] = select_indices(model, measure, np.zeros(3), shapes, LAYERS)
    [dear] = select_indices(model, measure, np.full(3, 0.5), shapes, LAYERS, coded=True)
    every = np.arange(30)
    for s in range(3):
        found = measure(0, s)(every)
        np.testing.assert_array_equal(free.planes[s].ravel(), found.argmin(1))
        assert dear.distances[s] == pytest.approx(found[every, dear.planes[s].ravel()].sum(), rel=1e-5)
    assert dear.plane_bits.sum() < free.plane_bits.sum()
    assert [dear.segments] == encode_tiles(model, [dear.planes], LAYERS)


@pytest.mark.slow
def test_a_prior_of_a_large_alphabet_finds_structure() -> None:
    """Plane 1 repeats plane 0; 16 of 2048 indices are in use."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(2048)[:16]
    tiles = []
    for _ in range(6):
        plane = codes[rng.integers(0, 16, (12, 12))]
        tiles.append(np.stack([plane, plane]).astype(np.uint16))
    prior = train_prior(tiles, (2048, 2048), RECIPE, lambda _: None, codewords=[some_codewords(2048)] * 2)
    rows = measure(prior, tiles, tiles[:2])
    assert rows["integer"][0] < 4.6
    assert rows["integer"][1] < 1
    np.testing.assert_allclose(rows["integer"], rows["float"], atol=0.05)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("prior.split", np.array([1, 0, 64]), "2..1499"),
        ("prior.split", np.array([64, 0]), "shape"),
        ("prior.rank.0", np.zeros(1500, np.int32), "permutation"),
        ("prior.rank.2", np.arange(2047), "shape"),
    ],
)
def test_bad_splits_are_refused(name: str, value: np.ndarray, message: str) -> None:
    tensors = Prior(SIZES, 8).tensors()
    with pytest.raises(ValueError, match=message):
        ContextModel(SIZES, {**tensors, name: value})


def test_ranks_are_part_of_the_identity() -> None:
    tensors = Prior(SIZES, 8).tensors()
    identity = ContextModel(SIZES, tensors).identity()
    tensors["prior.rank.0"] = tensors["prior.rank.0"][::-1]
    assert ContextModel(SIZES, tensors).identity() != identity
