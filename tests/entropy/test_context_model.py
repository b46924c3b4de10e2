"""Integer context model: equal frequencies in every order of evaluation, and those of the float network."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import tracemalloc

import numpy as np
import pytest
import torch

from tests.rans import AnsDecoder, decode_context_planes
from vqcodec.entropy import compiled_kernels, context_model
from vqcodec.entropy.compiled_kernels import Int8Kernel, check_inputs
from vqcodec.entropy.context_kernels import ExactKernel, PlaneNet
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.tile_segments import decode_tiles, encode_tiles
from vqcodec.entropy.workers import for_each
from vqcodec.errors import FormatError
from vqcodec.planes import MISSING
from vqcodec.train.prior.train_prior import Prior, PriorRecipe, bits_per_index, train_prior

SIZES = (16, 16, 8)
LAYERS = [[0], [1], [2]]


def a_prior(seed: int = 0, spread: float = 4.0) -> Prior:
    """Random weights, large enough for peaked frequencies."""
    torch.manual_seed(seed)
    prior = Prior(SIZES, units=32)
    with torch.no_grad():
        for net in prior.planes:
            net.out.mul_(20 * spread)
            net.bias1.normal_()
            net.bias3.normal_()
    return prior


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior().tensors())


def some_tiles(seed: int, shapes: list[tuple[int, int]]) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[rng.integers(0, k, shape).astype(np.int32) for k in SIZES] for shape in shapes]


class Recorder:
    """A coder that stores the frequencies."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        self.rows.append(rows.copy())

    def end_layer(self) -> None:
        """Do nothing."""


def frequencies(model: ContextModel, tiles: list[list[np.ndarray]]) -> list[np.ndarray]:
    """All frequencies of each tile."""
    coders = [Recorder() for _ in tiles]
    model.code_tiles(coders, copy.deepcopy(tiles), LAYERS)  # type: ignore[arg-type]
    return [np.concatenate([rows.ravel() for rows in coder.rows]) for coder in coders]


def with_nets(model: ContextModel, change: object) -> ContextModel:
    other = copy.copy(model)
    other.nets = [change(net) for net in model.nets]  # type: ignore[operator]
    return with_kernels(other, ExactKernel)


def with_kernels(model: ContextModel, kind: object) -> ContextModel:
    other = copy.copy(model)
    other.kernels = [kind(net, model.lut) for net in other.nets]  # type: ignore[operator]
    other.is_chosen = True
    return other


def int8_kernel(net: PlaneNet, lut: np.ndarray) -> Int8Kernel:
    return Int8Kernel(net, lut, 2)


def in_float64(net: PlaneNet) -> PlaneNet:
    return PlaneNet(**{f.name: getattr(net, f.name).astype(np.float64) for f in dataclasses.fields(net)})


def hidden_units_permuted(net: PlaneNet) -> PlaneNet:
    """An equal network with its hidden units in another order."""
    order = np.random.default_rng(1).permutation(len(net.bias2))
    return dataclasses.replace(
        net,
        around=net.around[:, order],
        own=net.own[:, order],
        bias1=net.bias1[:, order],
        scale1=net.scale1[order],
        hidden=net.hidden[order][:, order],
        bias2=net.bias2[order],
        scale2=net.scale2[order],
        out=net.out[order],
    )


def test_frequencies_do_not_depend_on_how_they_are_computed(model: ContextModel) -> None:
    tiles = some_tiles(0, [(32, 32)] * 5)
    expected = frequencies(model, tiles)
    assert len(np.unique(expected[0])) > 20, "the frequencies have to vary for a meaningful test"
    others = [with_nets(model, in_float64), with_nets(model, hidden_units_permuted)]
    for other in [*others, with_kernels(model, ExactKernel), with_kernels(model, int8_kernel)]:
        for a, b in zip(expected, frequencies(other, tiles), strict=True):
            np.testing.assert_array_equal(a, b)
    for tile, a in zip(tiles, expected, strict=True):
        np.testing.assert_array_equal(a, frequencies(model, [tile])[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_byte(model: ContextModel, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = some_tiles(6, [(40, 60)] * 5 + [(3, 9)])
    shapes = [tuple(plane.shape for plane in tile) for tile in tiles]
    expected = encode_tiles(with_kernels(model, ExactKernel), tiles, LAYERS)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    assert encode_tiles(model, tiles, LAYERS) == expected
    found = decode_tiles(model, expected, shapes, LAYERS)
    for tile, right in zip(found, tiles, strict=True):
        for plane, original in zip(tile, right, strict=True):
            np.testing.assert_array_equal(plane, original)


def test_an_error_in_a_thread_is_raised() -> None:
    def work(item: int) -> None:
        if item == 3:
            raise FormatError("three")

    with pytest.raises(FormatError, match="three"):
        for_each(work, range(6), 2)


@pytest.fixture
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are compiled for the first plane already, on every processor."""
    monkeypatch.setattr(context_model, "MANY", 1)
    monkeypatch.setattr(compiled_kernels, "int8_is_exact", lambda: True)


@pytest.mark.usefixtures("compiled_at_once")
def test_compiled_kernels_code_the_same_bytes() -> None:
    tensors, tiles = a_prior().tensors(), some_tiles(8, [(8, 8)])
    model = ContextModel(SIZES, tensors)
    found = encode_tiles(model, tiles, LAYERS)
    assert isinstance(model.kernels[0], Int8Kernel)
    assert found == encode_tiles(with_kernels(model, ExactKernel), tiles, LAYERS)


@pytest.mark.usefixtures("compiled_at_once")
def test_a_wrong_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files stay the same where a product is wrong in one bit."""
    tensors, tiles = a_prior().tensors(), some_tiles(8, [(8, 8)])
    right = Int8Kernel.rows

    def wrong(kernel: Int8Kernel, x: np.ndarray, p: int) -> np.ndarray:
        rows = right(kernel, x, p).copy()
        rows[-1, 0] += 1
        return rows

    monkeypatch.setattr(Int8Kernel, "rows", wrong)
    model = ContextModel(SIZES, tensors)
    found = encode_tiles(model, tiles, LAYERS)
    assert isinstance(model.kernels[0], ExactKernel)
    assert found == encode_tiles(with_kernels(model, ExactKernel), tiles, LAYERS)


@pytest.mark.usefixtures("compiled_at_once")
@pytest.mark.parametrize("without", ["openvino", "int8"])
def test_numpy_codes_where_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    if without == "openvino":
        monkeypatch.setattr(context_model, "has_openvino", lambda: False)
    else:
        monkeypatch.setattr(compiled_kernels, "int8_is_exact", lambda: False)
    model = ContextModel(SIZES, a_prior().tensors())
    encode_tiles(model, some_tiles(8, [(8, 8)]), LAYERS)
    assert model.is_chosen
    assert isinstance(model.kernels[0], ExactKernel)


def test_checked_inputs_reach_the_largest_sums() -> None:
    net = ContextModel(SIZES, a_prior().tensors()).nets[-1]
    weights = np.concatenate([net.around, net.own])
    sums = check_inputs(net).astype(np.int64) @ weights.astype(np.int64)
    np.testing.assert_array_equal(sums.max(0), 127 * abs(weights).sum(0))


@pytest.mark.usefixtures("compiled_at_once")
def test_weights_beyond_int8_are_not_clipped() -> None:
    tensors = golden_tensors()
    tensors["prior.1.hidden"] = tensors["prior.1.hidden"] * 3
    model = ContextModel((5, 5), tensors)
    found = encode_tiles(model, [GOLDEN_PLANES], [[0], [1]])
    assert isinstance(model.kernels[0], ExactKernel)
    assert found == encode_tiles(with_kernels(model, ExactKernel), [GOLDEN_PLANES], [[0], [1]])
    with pytest.raises(RuntimeError, match="int8"):
        int8_kernel(model.nets[1], model.lut)


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


def test_control_weights_that_are_not_integers_do_depend_on_it(model: ContextModel) -> None:
    """Control: with weights that are not integers, float32 and float64 differ."""

    def off_grid(net: PlaneNet) -> PlaneNet:
        return dataclasses.replace(net, own=net.own * np.float32(1.0137), hidden=net.hidden * np.float32(0.9871))

    single = with_nets(model, off_grid)
    double = with_nets(single, in_float64)
    tiles = some_tiles(0, [(32, 32)] * 8)
    different = sum(
        int((a != b).sum()) for a, b in zip(frequencies(single, tiles), frequencies(double, tiles), strict=True)
    )
    assert different > 0


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


@pytest.mark.parametrize("strip", [1, 4, 7, 30])
def test_strips_and_batches_change_no_bit(model: ContextModel, monkeypatch: pytest.MonkeyPatch, strip: int) -> None:
    shape = (9, 14)
    tiles = some_tiles(4, [shape] * 3)
    expected = encode_tiles(model, tiles, LAYERS)
    data = b"".join(expected[0])
    cut = [data[: len(data) // 3], b"", b""]
    [partly] = decode_tiles(model, [cut], [(shape,) * 3], LAYERS, "cut")
    monkeypatch.setattr("vqcodec.entropy.context_inputs.STRIP", strip)
    for batch in (1, 2 * 9 * 14, 2**14):
        monkeypatch.setattr("vqcodec.entropy.tile_segments.BATCH", batch)
        assert encode_tiles(model, tiles, LAYERS) == expected
        for found, tile in zip(decode_tiles(model, expected, [(shape,) * 3] * 3, LAYERS), tiles, strict=True):
            np.testing.assert_array_equal(found, tile)
    np.testing.assert_array_equal(decode_tiles(model, [cut], [(shape,) * 3], LAYERS, "cut")[0], partly)


def test_one_large_tile_takes_little_memory(model: ContextModel) -> None:
    """The inputs of all positions at once would take 1,600 bytes each."""
    n = 400 * 400
    noise = np.random.default_rng(0).bytes(2 * n)
    tracemalloc.start()
    decode_tiles(model, [[noise, b"", b""]], [((400, 400),) * 3], LAYERS, "layer")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * n


def test_contexts_end_at_the_border_of_a_tile(model: ContextModel) -> None:
    one, two, three = some_tiles(5, [(8, 8)] * 3)
    assert encode_tiles(model, [one, two], LAYERS)[0] == encode_tiles(model, [one, three], LAYERS)[0]


def test_integers_are_the_network_that_was_trained() -> None:
    """The float network in its rounded mode predicts the bits of the stream."""
    # Frequencies above the floor of the look-up table, which the float network does not have.
    prior = a_prior(spread=0.3)
    model = ContextModel(SIZES, prior.tensors())
    for net in prior.planes:
        net.quantized = True
    tiles = some_tiles(7, [(32, 32)] * 4)
    predicted = sum(bits_per_index(prior, [np.stack(tile)]).sum() * 1024 for tile in tiles)
    spent = sum(8 * len(segment) for tile in encode_tiles(model, tiles, LAYERS) for segment in tile)
    assert spent == pytest.approx(predicted, rel=0.01)


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


GOLDEN_SHAPE = (5, 6)
GOLDEN_PLANES = [np.arange(30, dtype=np.int32).reshape(GOLDEN_SHAPE) * a // 3 % 5 for a in (4, 7)]
GOLDEN_SEGMENTS = ["17000000b769493ade8c55e133c49e5ed819e34f27c0fcbbb3f8fbe59a4d0d6f", "374d593f3f295c65ab0f1ed7"]
GOLDEN_IDENTITY = "9bf1435b"


GOLDEN_NEAR_SEGMENTS = [
    "b1b07b3b542e37a1af679e06ce4bcd721bc01f1aa1d1cb792c43e352",
    "76999936cfb77f287b434e52a6b5a309",
    "c5a53c6f2af7025df84007e72fe67b0fa646d183",
]
GOLDEN_NEAR_IDENTITY = "52a0b415"


def golden_tensors(planes: int = 2, near: int | None = None) -> dict[str, np.ndarray]:
    """A model of planes of 5 indices with 4 hidden units; the numbers of RandomState never change."""
    rng = np.random.RandomState(0)
    tensors = {"prior.lut": np.maximum(1, (2**24 // 5 >> np.arange(256) // 16) - 3 * np.arange(256))}
    if near is not None:
        tensors["prior.near"] = np.array([near])
    for s in range(planes):
        seen = 9 * min(s, planes if near is None else near) + max(0, s - (planes if near is None else near))
        sizes = {
            "embedding": ((7, 8), -127, 127), "around": ((8 * seen, 4), -20, 20), "own": ((192, 4), -20, 20),
            "bias1": ((4, 4), -2000, 9000), "shift1": ((4,), 7, 9), "hidden": ((4, 4), -90, 90),
            "bias2": ((4,), -3000, 3000), "shift2": ((4,), 6, 8), "out": ((4, 5), -90, 90),
            "bias3": ((4, 5), -3000, 3000), "shift3": ((5,), 6, 8),
        }  # fmt: skip
        for name, (shape, low, high) in sizes.items():
            tensors[f"prior.{s}.{name}"] = rng.randint(low, high + 1, shape).astype(np.int32)
    return tensors


def test_golden_segments_of_the_context_model() -> None:
    model = ContextModel((5, 5), golden_tensors())
    [segments] = encode_tiles(model, [GOLDEN_PLANES], [[0], [1]])
    assert [segment.hex() for segment in segments] == GOLDEN_SEGMENTS
    assert model.identity().hex() == GOLDEN_IDENTITY
    near = ContextModel((5,) * 4, golden_tensors(4, near=1))
    [segments] = encode_tiles(near, [GOLDEN_PLANES + GOLDEN_PLANES], [[0], [1], [2, 3]])
    assert [segment.hex() for segment in segments] == GOLDEN_NEAR_SEGMENTS
    assert near.identity().hex() == GOLDEN_NEAR_IDENTITY


@pytest.mark.parametrize("near", [None, 1])
def test_pure_python_decoder_agrees(near: int | None) -> None:
    """tests/rans.py follows the specification, without numpy and the coder's library."""
    n, segments = (2, GOLDEN_SEGMENTS) if near is None else (4, GOLDEN_NEAR_SEGMENTS)
    tensors = {name: value.tolist() for name, value in golden_tensors(n, near).items()}
    decoder = AnsDecoder(bytes.fromhex("".join(segments)))
    planes = decode_context_planes(decoder, tensors, (5,) * n, GOLDEN_SHAPE)
    assert planes == [plane.tolist() for plane in GOLDEN_PLANES] * (n // 2)
    assert decoder.state == 0
    assert not decoder.words
