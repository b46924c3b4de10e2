"""Kernels of the context model: equal frequencies and bytes however they are computed."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.context_models import (
    GOLDEN_PLANES,
    LAYERS,
    SIZES,
    a_prior,
    frequencies,
    golden_tensors,
    in_float64,
    some_tiles,
    with_kernels,
    with_nets,
)
from vqcodec.entropy import compiled_kernels, context_model
from vqcodec.entropy.compiled_kernels import Int8Kernel, check_inputs
from vqcodec.entropy.context_kernels import ExactKernel, PlaneNet
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.tile_segments import BATCH, batches, decode_tiles, encode_tiles


@pytest.fixture(scope="module", params=[1, 3])
def model(request: pytest.FixtureRequest) -> ContextModel:
    return ContextModel(SIZES, a_prior(grids=request.param).tensors())


def int8_kernel(net: PlaneNet, lut: np.ndarray, own: np.ndarray) -> Int8Kernel:
    return Int8Kernel(net, lut, own)


def hidden_units_permuted(net: PlaneNet) -> PlaneNet:
    """An equal network with its hidden units in another order."""
    order = np.random.default_rng(1).permutation(len(net.bias2))
    return dataclasses.replace(
        net,
        around=net.around[:, order],
        own=net.own[:, :, order],
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


def _compile_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile kernels for the first plane already, on every processor."""
    monkeypatch.setattr(context_model, "MANY", 1)
    monkeypatch.setattr(compiled_kernels, "int8_is_exact", lambda: True)


@pytest.fixture
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _compile_at_once(monkeypatch)


def test_compiled_kernels_serve_two_threads(model: ContextModel) -> None:
    compiled = with_kernels(model, int8_kernel)
    some = [some_tiles(seed, [(40, 60), (9, 9)]) for seed in range(8)]
    expected = [frequencies(model, tiles) for tiles in some]
    with ThreadPoolExecutor(2) as pool:
        for found, right in zip(pool.map(lambda tiles: frequencies(compiled, tiles), some), expected, strict=True):
            for a, b in zip(found, right, strict=True):
                np.testing.assert_array_equal(a, b)


def test_compiled_kernels_code_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kernels give equal bytes; a processor that saturates products keeps the exact one."""
    used = Int8Kernel if compiled_kernels.int8_is_exact() else ExactKernel
    _compile_at_once(monkeypatch)
    tensors, tiles = a_prior(grids=2).tensors(), some_tiles(8, [(8, 8)])
    model = ContextModel(SIZES, tensors)
    found = encode_tiles(model, tiles, LAYERS)
    assert isinstance(model.kernels[0][0], used)
    assert found == encode_tiles(with_kernels(model, ExactKernel), tiles, LAYERS)


@pytest.mark.usefixtures("compiled_at_once")
@pytest.mark.parametrize("wrong_pass", [0, 6])
def test_a_wrong_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch, wrong_pass: int) -> None:
    """Files stay the same where a product is wrong in one bit, in the coarsest or the finest grid."""
    tensors, tiles = a_prior(grids=2).tensors(), some_tiles(8, [(8, 8)])
    right = Int8Kernel.rows

    def wrong(kernel: Int8Kernel, x: np.ndarray, p: int) -> np.ndarray:
        rows = right(kernel, x, p).copy()
        rows[-1, 0] += p == wrong_pass
        return rows

    monkeypatch.setattr(Int8Kernel, "rows", wrong)
    model = ContextModel(SIZES, tensors)
    found = encode_tiles(model, tiles, LAYERS)
    assert isinstance(model.kernels[0][0], ExactKernel)
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
    assert isinstance(model.kernels[0][0], ExactKernel)


def test_checked_inputs_reach_the_largest_sums() -> None:
    net = ContextModel(SIZES, a_prior().tensors()).nets[-1]
    weights = np.concatenate([net.around, net.own[0]])
    sums = check_inputs(net, net.own[0]).astype(np.int64) @ weights.astype(np.int64)
    np.testing.assert_array_equal(sums.max(0), 127 * abs(weights).sum(0))


@pytest.mark.usefixtures("compiled_at_once")
def test_weights_beyond_int8_are_not_clipped() -> None:
    tensors = golden_tensors()
    tensors["prior.1.hidden"] = tensors["prior.1.hidden"] * 3
    model = ContextModel((5, 5), tensors)
    found = encode_tiles(model, [GOLDEN_PLANES], [[0], [1]])
    assert isinstance(model.kernels[0][0], ExactKernel)
    assert found == encode_tiles(with_kernels(model, ExactKernel), [GOLDEN_PLANES], [[0], [1]])
    with pytest.raises(RuntimeError, match="int8"):
        int8_kernel(model.nets[1], model.lut, model.nets[1].own[0])


def test_control_weights_that_are_not_integers_do_depend_on_it() -> None:
    """Control: with weights that are not integers, float32 and float64 differ."""

    def off_grid(net: PlaneNet) -> PlaneNet:
        return dataclasses.replace(net, own=net.own * np.float32(1.0137), hidden=net.hidden * np.float32(0.9871))

    single = with_nets(ContextModel(SIZES, a_prior().tensors()), off_grid)
    double = with_nets(single, in_float64)
    tiles = some_tiles(0, [(32, 32)] * 8)
    different = sum(
        int((a != b).sum()) for a, b in zip(frequencies(single, tiles), frequencies(double, tiles), strict=True)
    )
    assert different > 0


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


@pytest.mark.parametrize("grids", [1, 3])
@pytest.mark.parametrize("strip", [3, 2**10])
def test_a_tile_does_not_depend_on_tiles_of_other_shapes(
    grids: int, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ContextModel(SIZES, a_prior(grids=grids).tensors())
    tiles = some_tiles(9, [(9, 14), (1, 1), (14, 3), (1, 20), (16, 16)])
    alone = [found for tile in tiles for found in frequencies(model, [tile])]
    monkeypatch.setattr("vqcodec.entropy.context_inputs.STRIP", strip)
    for found, expected in zip(frequencies(model, tiles), alone, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_planes_of_several_shapes_in_tiles_of_several_shapes() -> None:
    """The second plane has half the rows and columns; the planes of the last tile are sequences."""
    model = ContextModel(SIZES, a_prior(grids=2).tensors())
    shapes = [[(8, 12), (4, 6), (8, 12)], [(5, 12), (2, 6), (5, 12)], [(16,), (9,), (3,)]]
    rng = np.random.default_rng(10)
    tiles = [
        [rng.integers(0, k, s).astype(np.int32) for k, s in zip(SIZES, of_tile, strict=True)] for of_tile in shapes
    ]
    together = encode_tiles(model, tiles, LAYERS)
    assert together == [encode_tiles(model, [tile], LAYERS)[0] for tile in tiles]
    for found, tile in zip(decode_tiles(model, together, [tuple(s) for s in shapes], LAYERS), tiles, strict=True):
        for plane, expected in zip(found, tile, strict=True):
            np.testing.assert_array_equal(plane, expected)


@given(st.lists(st.integers(0, 9000), max_size=40), st.integers(1, 3))
def test_batches_hold_every_tile_once_and_are_even(sizes: list[int], workers: int) -> None:
    found = batches(sizes, workers)
    assert [t for batch in found for t in batch] == list(range(len(sizes)))
    assert all(found)
    largest = max(sizes, default=0)
    assert all(sum(sizes[t] for t in batch) <= BATCH + largest for batch in found)
    if largest and largest <= min(BATCH // 4, sum(sizes) // (2 * workers)):
        assert len(found) % workers == 0
        shares = [sum(sizes[t] for t in batch) for batch in found]
        assert max(shares) - min(shares) <= 2 * largest
