"""Alpha planes: round trips, golden bytes, sizes, and bounded memory for hostile data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.container import alpha as module
from vqcodec.container.alpha import decode_alpha, encode_alpha
from vqcodec.errors import FormatError

Plane = npt.NDArray[np.uint8]


def round_trip(plane: Plane) -> bytes:
    data = encode_alpha(plane)
    back = decode_alpha(data, plane.shape[1], plane.shape[0])
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, plane)
    assert encode_alpha(plane) == data
    return data


def disc(height: int, width: int) -> Plane:
    """An opaque disc with a soft border."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - height / 2, x - width / 2)
    plane: Plane = np.clip(128 + 40 * (min(height, width) / 3 - radius), 0, 255).astype(np.uint8)
    return plane


def frame(rows: Plane, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(rows.tobytes())  # type: ignore[arg-type]


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 256]))
def test_round_trip(height: int, width: int, seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, levels, (height, width))
    for plane in (noise, noise.cumsum(0), noise.cumsum(1), noise.cumsum(0).cumsum(1)):
        round_trip(plane.astype(np.uint8))


def test_round_trip_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = disc(61, 47)
    whole = round_trip(plane)
    monkeypatch.setattr(module, "STRIP", 100)
    assert round_trip(plane) == whole


def test_not_contiguous() -> None:
    round_trip(disc(40, 60)[::2, ::-3])
    round_trip(np.asfortranarray(disc(40, 60)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3000, 4000)])
def test_constant_plane_is_one_byte(shape: tuple[int, int]) -> None:
    for value in (0, 255, 77):
        assert round_trip(np.full(shape, value, np.uint8)) == bytes([value])


def test_shapes_compress_well() -> None:
    assert len(round_trip(disc(512, 768))) < 10_000
    step = np.zeros((512, 768), np.uint8)
    step[:, 300:] = 255
    assert len(round_trip(step)) < 100


def test_filters_are_selected_and_inverted() -> None:
    plane = np.array([[10, 20, 30, 40], [10, 20, 30, 41], [255, 1, 255, 1], [9, 9, 9, 9]], np.uint8)
    rows = np.frombuffer(zstandard.ZstdDecompressor().decompress(encode_alpha(plane)), np.uint8).reshape(4, 5)
    expected = [[1, 10, 10, 10, 10], [2, 0, 0, 0, 1], [0, 255, 1, 255, 1], [1, 9, 0, 0, 0]]
    np.testing.assert_array_equal(rows, expected)
    # the row above the first is 0, and sums are mod 256
    by_hand = np.array([[2, 200, 100], [2, 100, 200], [1, 255, 2]], np.uint8)
    np.testing.assert_array_equal(decode_alpha(frame(by_hand), 2, 3), [[200, 100], [44, 44], [255, 1]])


def test_invalid_planes() -> None:
    for bad in (np.zeros((2, 2)), np.zeros(4, np.uint8), np.zeros((0, 3), np.uint8), np.zeros((1, 2, 2), np.uint8)):
        with pytest.raises(ValueError, match="alpha must be"):
            encode_alpha(bad)  # type: ignore[arg-type]
    for width, height in ((0, 1), (1, 0), (-3, -3)):
        with pytest.raises(ValueError, match="width and height"):
            decode_alpha(b"\0", width, height)


def test_damaged_data() -> None:
    data = encode_alpha(disc(30, 20))
    for size in [0, *range(2, len(data))]:
        with pytest.raises(FormatError, match="alpha"):
            decode_alpha(data[:size], 20, 30)
    for width, height in ((20, 29), (19, 30), (30, 20), (2**20, 2**20)):
        with pytest.raises(FormatError, match="alpha"):
            decode_alpha(data, width, height)
    for bad in (data + b"\0", data + data, b"not zstandard", frame(np.zeros((0, 1), np.uint8))):
        with pytest.raises(FormatError, match="alpha"):
            decode_alpha(bad, 20, 30)
    with pytest.raises(FormatError, match="alpha"):
        decode_alpha(frame(np.zeros((30, 21), np.uint8), write_content_size=False), 20, 30)
    rows = np.zeros((30, 21), np.uint8)
    rows[7, 0] = 3
    with pytest.raises(FormatError, match=r"filter of row 7: expected 0\.\.2, found 3"):
        decode_alpha(frame(rows), 20, 30)


def test_bomb_is_refused_by_its_stated_size() -> None:
    header = bytes.fromhex("28b52ffd e0") + (2**50).to_bytes(8, "little")
    with pytest.raises(FormatError, match=str(2**50)):
        decode_alpha(header + bytes(20), 20, 30)
    lying = bytes.fromhex("28b52ffd a0") + (630).to_bytes(4, "little") + bytes.fromhex("03ff7f00 00")  # an RLE block
    with pytest.raises(FormatError, match="alpha"):
        decode_alpha(lying, 20, 30)


@settings(max_examples=200)
@given(st.binary(max_size=60), st.booleans())
def test_random_bytes(noise: bytes, magic: bool) -> None:
    data = bytes.fromhex("28b52ffd") + noise if magic else noise
    try:
        plane = decode_alpha(data, 5, 4)
    except FormatError:
        return
    assert plane.shape == (4, 5)
