"""Integer context model: equal frequencies in every order of evaluation, and those of the float network."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
import torch

from tests.context_models import (
    GOLDEN_PLANES,
    GOLDEN_SHAPE,
    LAYERS,
    SIZES,
    Recorder,
    a_prior,
    frequencies,
    golden_tensors,
    some_tiles,
)
from tests.rans import AnsDecoder, decode_context_planes
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.tile_segments import decode_tiles, encode_tiles
from vqcodec.entropy.workers import for_each
from vqcodec.errors import FormatError
from vqcodec.planes import MISSING
from vqcodec.train.prior.network import Prior
from vqcodec.train.prior.train_prior import PriorRecipe, bits_per_index, train_prior


@pytest.fixture(scope="module", params=[1, 3])
def model(request: pytest.FixtureRequest) -> ContextModel:
    return ContextModel(SIZES, a_prior(grids=request.param).tensors())


def test_an_error_in_a_thread_is_raised() -> None:
    def work(item: int) -> None:
        if item == 3:
            raise FormatError("three")

    with pytest.raises(FormatError, match="three"):
        for_each(work, range(6), 2)


def test_the_self_test_compares_with_this_machine() -> None:
    tensors = a_prior().tensors()
    identity = ContextModel(SIZES, {k: v for k, v in tensors.items() if k != "prior.check"}).identity()
    assert ContextModel(SIZES, tensors).identity() == identity
    q = np.arange(11 * 13)
    planes = [((q * q * (2 * s + 3) + 7 * q + s) % 65521 % size).reshape(11, 13) for s, size in enumerate(SIZES)]
    model = ContextModel(SIZES, tensors)
    rows = frequencies(model, [[plane.astype(np.int32) for plane in planes]])[0]
    assert hashlib.sha256(rows.astype("<i4").tobytes()).digest() == tensors["prior.check"].tobytes()
    tensors["prior.check"] = tensors["prior.check"] ^ 1
    with pytest.raises(ValueError, match="frequencies on this machine differ"):
        ContextModel(SIZES, tensors)


def test_frequencies_are_within_the_limits_of_the_coder(model: ContextModel) -> None:
    coder = Recorder()
    model.code_tiles([coder], some_tiles(3, [(9, 7)]), LAYERS)  # type: ignore[list-item]
    for rows in coder.rows:
        assert rows.dtype == np.float32
        assert (rows == np.floor(rows)).all()
        assert rows.min() >= 1
        assert rows.sum(-1).max() <= 2**24


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (2, 2), (13, 8)])
def test_round_trip_and_every_layer_prefix(model: ContextModel, shape: tuple[int, int]) -> None:
    tiles = some_tiles(1, [shape] * 3)
    segments = encode_tiles(model, tiles, LAYERS)
    for keep in (1, 2, 3):
        kept = [tile[:keep] for tile in segments]
        found = decode_tiles(model, kept, [(shape,) * 3] * 3, LAYERS, "complete" if keep == 3 else "layer")
        for tile, planes in zip(tiles, found, strict=True):
            for s in range(3):
                np.testing.assert_array_equal(planes[s], tile[s] if s < keep else MISSING)


def test_a_cut_stream_holds_only_correct_indices(model: ContextModel) -> None:
    [tile] = some_tiles(2, [(10, 10)])
    [segments] = encode_tiles(model, [tile], LAYERS)
    data = b"".join(segments)
    for end in range(4, len(data), 8):
        [found] = decode_tiles(model, [[data[:end], b"", b""]], [((10, 10),) * 3], LAYERS, "cut")
        for plane, right in zip(found, tile, strict=True):
            there = plane != MISSING
            np.testing.assert_array_equal(plane[there], right[there])
    with pytest.raises(FormatError):
        decode_tiles(model, [[data[:-4], b"", b""]], [((10, 10),) * 3], LAYERS)


def test_one_large_tile_takes_little_memory(model: ContextModel) -> None:
    """The inputs of all positions at once would take 1,600 bytes each."""
    n = 400 * 400
    noise = np.random.default_rng(0).bytes(2 * n)
    tracemalloc.start()
    decode_tiles(model, [[noise, b"", b""]], [((400, 400),) * 3], LAYERS, "layer")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * n


@pytest.mark.parametrize("grids", [1, 4])
def test_many_small_tiles_take_little_memory(grids: int) -> None:
    """Margins of tiles of one position are many times as large as the tiles."""
    model = ContextModel(SIZES, a_prior(grids=grids).tensors())
    tiles = some_tiles(3, [(1, 1)] * 3000)
    tracemalloc.start()
    segments = encode_tiles(model, tiles, LAYERS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25
    assert segments[:5] == encode_tiles(model, tiles[:5], LAYERS)


def test_weights_of_every_grid_are_checked() -> None:
    tensors = a_prior(grids=3).tensors()
    rows = len(tensors["prior.1.own"]) // 3
    large = tensors["prior.1.own"].astype(np.int32)
    large[2 * rows :] = 2000
    with pytest.raises(ValueError, match="first layer: sums"):
        ContextModel(SIZES, tensors | {"prior.1.own": large})
    with pytest.raises(ValueError, match="shape"):
        ContextModel(SIZES, tensors | {"prior.1.own": tensors["prior.1.own"][: 2 * rows]})


def test_contexts_end_at_the_border_of_a_tile(model: ContextModel) -> None:
    one, two, three = some_tiles(5, [(8, 8)] * 3)
    assert encode_tiles(model, [one, two], LAYERS)[0] == encode_tiles(model, [one, three], LAYERS)[0]


@pytest.mark.parametrize("grids", [1, 3])
def test_integers_are_the_network_that_was_trained(grids: int) -> None:
    """The float network in its rounded mode predicts the bits of the stream."""
    # Frequencies above the floor of the look-up table, which the float network does not have.
    prior = a_prior(spread=0.3, grids=grids)
    model = ContextModel(SIZES, prior.tensors())
    for net in prior.planes:
        net.quantized = True
    tiles = some_tiles(7, [(32, 32)] * 4)
    predicted = sum(bits_per_index(prior, [np.stack(tile)]).sum() * 1024 for tile in tiles)
    spent = sum(8 * len(segment) for tile in encode_tiles(model, tiles, LAYERS) for segment in tile)
    assert spent == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize("grids", [1, 3])
def test_training_goes_on_from_a_model(grids: int) -> None:
    """The float network of an integer model has its weights; more grids than the model has start from those it has."""
    tensors = a_prior(grids=grids).tensors()
    again = Prior.of(ContextModel(SIZES, tensors))
    for net in again.nets():
        net.quantized = True
    for name, value in again.tensors().items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)
    more = Prior(SIZES, units=32, grids=4, own_by_grid=(0, 1))
    more.go_on_from(ContextModel(SIZES, tensors))
    biases = [net.bias1 for net in more.nets()]
    assert [len(bias) for bias in biases] == [13, 13, 13]
    for net, source in zip(more.nets(), Prior.of(ContextModel(SIZES, tensors)).nets(), strict=True):
        first = 13 - len(source.bias1)  # passes of the further, coarser grids come first
        for found, given in ((net.bias1, source.bias1), (net.bias3, source.bias3)):
            torch.testing.assert_close(found[0], given[0], rtol=0, atol=0)
            torch.testing.assert_close(found[first + 1 :], given[1:], rtol=0, atol=0)
            torch.testing.assert_close(found[1 : first + 1], given[1:4].repeat(first // 3, 1), rtol=0, atol=0)
        own = source.own if source.own.dim() == 3 else source.own[None]
        whole = net.own if net.own.dim() == 3 else net.own[None]
        torch.testing.assert_close(whole[: len(own)], own, rtol=0, atol=0)
        torch.testing.assert_close(whole[-1], own[-1], rtol=0, atol=0)


@pytest.mark.slow
def test_training_finds_the_structure_of_codes() -> None:
    """Plane 1 repeats plane 0, plane 2 its left neighbour: contexts must include both."""
    rng = np.random.default_rng(0)
    tiles = []
    for _ in range(12):
        first = rng.integers(0, 8, (16, 16))
        tiles.append(np.stack([first, first, np.roll(first, 1, 1)]))
    recipe = PriorRecipe(model="", train=(), steps=60, batch=4, units=32, lr=2e-2)
    prior = train_prior(tiles, (8, 8, 8), recipe, report=lambda _: None)
    bits = bits_per_index(prior, tiles)
    assert bits[0] > 2.5
    assert bits[1] < 0.5
    assert bits[2] < 1.2


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("prior.1.hidden", lambda v: v[:, :-1], "shape"),
        ("prior.1.hidden", lambda v: v.astype(np.float32), "integers"),
        ("prior.0.bias1", lambda v: v + 2**24, "beyond the exact"),
        ("prior.0.shift3", lambda v: v + 40, "shift"),
        ("prior.1.shift1", lambda v: v.astype(np.int32) * 0 - 1, "shift"),
        ("prior.0.embedding", lambda v: v.astype(np.int32) + 200, "embedding"),
        ("prior.lut", lambda v: v * 0, "entries must be"),
        ("prior.2.out", None, "missing"),
        ("prior.near", lambda _: np.array([-1]), "below 0"),
        ("prior.near", lambda _: np.array([1]), "shape"),
        ("prior.grids", lambda _: np.array([0]), "outside of 1"),
        ("prior.grids", lambda _: np.array([5]), "outside of 1"),
        ("prior.grids", lambda _: np.array([2]), "shape"),
    ],
)
def test_bad_tensors_are_refused(name: str, change: object, message: str) -> None:
    tensors = a_prior().tensors()
    if change is None:
        del tensors[name]
    else:
        tensors[name] = change(tensors.get(name))  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        ContextModel(SIZES, tensors)


def test_identity_depends_on_every_weight() -> None:
    tensors = a_prior().tensors()
    del tensors["prior.check"]
    before = ContextModel(SIZES, tensors).identity()
    tensors["prior.2.out"][0, 0] ^= 1
    assert ContextModel(SIZES, tensors).identity() != before


GOLDEN_SEGMENTS = ["17000000b769493ade8c55e133c49e5ed819e34f27c0fcbbb3f8fbe59a4d0d6f", "374d593f3f295c65ab0f1ed7"]


GOLDEN_IDENTITY = "9bf1435b"


GOLDEN_NEAR_SEGMENTS = [
    "b1b07b3b542e37a1af679e06ce4bcd721bc01f1aa1d1cb792c43e352",
    "76999936cfb77f287b434e52a6b5a309",
    "c5a53c6f2af7025df84007e72fe67b0fa646d183",
]


GOLDEN_NEAR_IDENTITY = "52a0b415"


GOLDEN_GRIDS_SEGMENTS = ["6711e102d599488af49ef76cbb4000f930dd19d144cfffd0", "f7b7f778eb67d7edfda11136"]


GOLDEN_GRIDS_IDENTITY = "73fc81fe"


def test_golden_segments_of_the_context_model() -> None:
    model = ContextModel((5, 5), golden_tensors())
    [segments] = encode_tiles(model, [GOLDEN_PLANES], [[0], [1]])
    assert [segment.hex() for segment in segments] == GOLDEN_SEGMENTS
    assert model.identity().hex() == GOLDEN_IDENTITY
    near = ContextModel((5,) * 4, golden_tensors(4, near=1))
    [segments] = encode_tiles(near, [GOLDEN_PLANES + GOLDEN_PLANES], [[0], [1], [2, 3]])
    assert [segment.hex() for segment in segments] == GOLDEN_NEAR_SEGMENTS
    assert near.identity().hex() == GOLDEN_NEAR_IDENTITY
    grids = ContextModel((5, 5), golden_tensors(grids=3))
    [segments] = encode_tiles(grids, [GOLDEN_PLANES], [[0], [1]])
    assert [segment.hex() for segment in segments] == GOLDEN_GRIDS_SEGMENTS
    assert grids.identity().hex() == GOLDEN_GRIDS_IDENTITY


@pytest.mark.parametrize(
    ("n", "near", "grids", "segments"),
    [(2, None, 1, GOLDEN_SEGMENTS), (4, 1, 1, GOLDEN_NEAR_SEGMENTS), (2, None, 3, GOLDEN_GRIDS_SEGMENTS)],
)
def test_pure_python_decoder_agrees(n: int, near: int | None, grids: int, segments: list[str]) -> None:
    """tests/rans.py follows the specification, without numpy and the coder's library."""
    tensors = {name: value.tolist() for name, value in golden_tensors(n, near, grids).items()}
    decoder = AnsDecoder(bytes.fromhex("".join(segments)))
    planes = decode_context_planes(decoder, tensors, (5,) * n, GOLDEN_SHAPE)
    assert planes == [plane.tolist() for plane in GOLDEN_PLANES] * (n // 2)
    assert decoder.state == 0
    assert not decoder.words
