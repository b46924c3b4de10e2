"""rANS coder and adaptive tables: golden words, round trips, prefixes, and an independent decoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rans import AnsDecoder, decode_adaptive_plane
from vqcodec.entropy.adaptive_tables import (
    PREPARED_TOTAL,
    STEPS,
    AdaptiveTables,
    option_bits,
    table_from_counts,
    uniform_table,
)
from vqcodec.entropy.index_order import scan
from vqcodec.entropy.rans import TileDecoder, TileEncoder
from vqcodec.entropy.tile_segments import decode_tile, encode_tile
from vqcodec.errors import FormatError
from vqcodec.planes import MISSING


def some_planes(seed: int, shapes: list[tuple[int, ...]], sizes: list[int]) -> list[np.ndarray]:
    """Planes of skewed distributions."""
    rng = np.random.default_rng(seed)
    return [
        rng.choice(k, size=shape, p=rng.dirichlet(np.full(k, 0.2))).astype(np.int32)
        for shape, k in zip(shapes, sizes, strict=True)
    ]


def test_golden_words_of_the_coder() -> None:
    encoder = TileEncoder()
    encoder.code(np.array([5, 1, 2, 8], np.float32), np.array([3, 0, 0, 2, 1, 3], np.int32))
    encoder.end_layer()
    encoder.code_rows(np.array([[1, 3], [7, 1], [2, 2]], np.float32), np.array([1, 0, 1], np.int32))
    encoder.end_layer()
    assert [segment.hex() for segment in encoder.segments()] == GOLDEN_CODER


def test_golden_segments_of_the_adaptive_tables() -> None:
    planes = [(np.arange(35, dtype=np.int32).reshape(5, 7) * 11) % 16, np.full((5, 7), 3, np.int32)]
    segments = encode_tile(AdaptiveTables((16, 16)), planes, [[0], [1]])
    assert [segment.hex() for segment in segments] == GOLDEN_TABLES


GOLDEN_CODER = ["120000003b11a01a", ""]
GOLDEN_TABLES = ["9b000000666b0a1e4e82cea2b5f10586f9d7b3711f00b03d30cd9c0c", "333333333333333303003033"]


@pytest.mark.parametrize("size", [2, 3, 16, 256, 1024])
def test_pure_python_decoder_agrees(size: int) -> None:
    rng = np.random.default_rng(size)
    prepared = [np.stack([table_from_counts(rng.integers(0, 1000, size) ** 2) for _ in range(3)]) for _ in range(2)]
    planes = some_planes(size, [(13, 9), (13, 9)], [size, size])
    segments = encode_tile(AdaptiveTables((size, size), prepared), planes, [[0], [1]])
    decoder = AnsDecoder(b"".join(segments))
    for plane, tables in zip(planes, prepared, strict=True):
        symbols = decode_adaptive_plane(decoder, tables.tolist(), plane.size)
        assert symbols == plane.reshape(-1)[scan(plane.shape)].tolist()
    assert decoder.state == 0
    assert not decoder.words


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.integers(1, 20),
    st.lists(st.integers(1, 300), min_size=1, max_size=4),
)
def test_round_trip_of_any_planes(seed: int, h: int, w: int, sizes: list[int]) -> None:
    shapes: list[tuple[int, ...]] = [(h, w) if s % 2 == 0 else (h * w,) for s in range(len(sizes))]
    planes = some_planes(seed, shapes, sizes)
    model = AdaptiveTables(sizes)
    layers = [[s] for s in range(len(sizes))]
    segments = encode_tile(model, planes, layers)
    assert all(len(segment) % 4 == 0 for segment in segments)
    for keep in range(1, len(sizes) + 1):
        found = decode_tile(model, segments[:keep], shapes, layers, "complete" if keep == len(sizes) else "layer")
        for plane, part in zip(planes[:keep], found, strict=False):
            np.testing.assert_array_equal(part, plane)
        assert all((part == MISSING).all() for part in found[keep:])


def test_several_planes_in_one_layer() -> None:
    planes = some_planes(1, [(6, 5)] * 3, [9, 9, 9])
    model = AdaptiveTables((9, 9, 9))
    segments = encode_tile(model, planes, [[2], [0, 1]])
    assert len(segments) == 2
    found = decode_tile(model, segments, [(6, 5)] * 3, [[2], [0, 1]])
    for plane, part in zip(planes, found, strict=True):
        np.testing.assert_array_equal(part, plane)


def test_every_prefix_decodes_to_its_first_symbols() -> None:
    shapes: list[tuple[int, ...]] = [(12, 12)] * 3
    planes = some_planes(7, shapes, [64] * 3)
    model, layers = AdaptiveTables((64,) * 3), [[0], [1], [2]]
    data = b"".join(encode_tile(model, planes, layers))
    whole = np.concatenate([plane.reshape(-1)[scan(plane.shape)] for plane in planes])
    reached = []
    for end in range(0, len(data) + 1, 4):
        found = decode_tile(model, [data[:end], b"", b""], shapes, layers, "cut")
        symbols = np.concatenate([plane.reshape(-1)[scan(plane.shape)] for plane in found])
        count = int((symbols != MISSING).sum())
        np.testing.assert_array_equal(symbols[:count], whole[:count])
        assert (symbols[count:] == MISSING).all()
        reached.append(count)
    assert reached == sorted(reached)
    assert reached[0] == 0
    assert reached[-1] >= whole.size - 20


def test_the_end_of_the_stream_reveals_most_damage() -> None:
    # Most: a short damaged stream may end in the initial state. The container's CRC-16 detects the rest.
    planes = some_planes(3, [(24, 24)], [32])
    model = AdaptiveTables((32,))
    [segment] = encode_tile(model, planes, [[0]])
    noticed = 0
    for bit in range(8 * len(segment)):
        damaged = bytearray(segment)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            decode_tile(model, [bytes(damaged)], [(24, 24)], [[0]])
        except FormatError:
            noticed += 1
    assert noticed >= 0.95 * 8 * len(segment)


def test_missing_words_are_an_error_unless_cut() -> None:
    planes = some_planes(3, [(8, 8)], [32])
    model = AdaptiveTables((32,))
    [segment] = encode_tile(model, planes, [[0]])
    with pytest.raises(FormatError, match="end"):
        decode_tile(model, [segment[:-4]], [(8, 8)], [[0]])


def test_a_plane_of_zeros_may_take_no_words_at_all() -> None:
    planes = [np.zeros((4, 4), np.int32)]
    model = AdaptiveTables((1,))
    segments = encode_tile(model, planes, [[0]])
    np.testing.assert_array_equal(decode_tile(model, segments, [(4, 4)], [[0]])[0], planes[0])


def test_option_bits_are_those_of_the_stream() -> None:
    [plane] = some_planes(11, [(40, 40)], [64])
    symbols = plane.reshape(-1)[scan(plane.shape)]
    prepared = np.stack([uniform_table(64), table_from_counts(np.bincount(symbols, minlength=64))])
    bits = option_bits(prepared, symbols)
    model = AdaptiveTables((64,), [prepared])
    best = 8 * len(encode_tile(model, [plane], [[0]])[0])
    assert abs(best - (bits.min() + np.log2(len(bits)))) <= 40
    assert bits[len(STEPS)] < bits[0]


def test_prepared_tables_save_bits() -> None:
    [plane] = some_planes(5, [(16, 16)], [256])
    counts = np.bincount(plane.ravel(), minlength=256)
    plain = encode_tile(AdaptiveTables((256,)), [plane], [[0]])
    fitted = encode_tile(AdaptiveTables((256,), [table_from_counts(counts)[None]]), [plane], [[0]])
    assert len(fitted[0]) < 0.9 * len(plain[0])


def test_scan_visits_every_position_once_and_a_quarter_at_a_time() -> None:
    for shape in [(1, 1), (1, 5), (4, 6), (7, 3), (9,)]:
        order = scan(shape)
        assert sorted(order.tolist()) == list(range(int(np.prod(shape))))
    assert scan((4, 4))[:4].tolist() == [0, 2, 8, 10]
    assert scan((3,)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 65536])
def test_tables_are_positive_with_a_fixed_sum(size: int) -> None:
    for table in (uniform_table(size), table_from_counts(np.arange(size) % 7)):
        assert table.min() >= 1
        assert table.sum() == PREPARED_TOTAL


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        AdaptiveTables((4,), [np.full((1, 5), 1)])
    with pytest.raises(ValueError, match="sum"):
        AdaptiveTables((4,), [np.full((1, 4), 1)])
    with pytest.raises(ValueError, match="sum of its frequencies"):
        TileEncoder().code(np.full(2, 2**24, np.float32), np.zeros(3, np.int32))


def test_identity_depends_on_tables_and_sizes() -> None:
    ids = {
        AdaptiveTables((4,)).identity(),
        AdaptiveTables((5,)).identity(),
        AdaptiveTables((4,), [table_from_counts(np.array([9, 1, 1, 1]))[None]]).identity(),
    }
    assert len(ids) == 3


def test_decoder_refuses_an_impossible_stream() -> None:
    with pytest.raises(FormatError, match="not a valid stream"):
        TileDecoder([b"\0\0\0\0"], cut=False)
