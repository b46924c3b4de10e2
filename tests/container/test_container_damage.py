"""Containers that are truncated, damaged or random."""

from __future__ import annotations

import dataclasses
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.container import MAGIC, Chunk, read, read_head, write
from vqcodec.container.bytes_reader import varint_bytes
from vqcodec.errors import FormatError, InputError, LimitError, VqcError

from ..containers import GOLDEN, HEAD_BYTES, HEADER, IDS, SEGMENTS, check_partial, crc32, head_of


def test_every_prefix() -> None:
    whole = read(GOLDEN)
    with pytest.raises(InputError, match=r"not a \.vqc file"):
        read(b"")
    for size in range(1, len(GOLDEN)):
        for function in (read, read_head) if size < HEAD_BYTES else (read,):
            with pytest.raises(FormatError):
                function(GOLDEN[:size])
        if size < HEAD_BYTES:
            with pytest.raises(FormatError, match=r"cut"):
                read(GOLDEN[:size], allow_partial=True)
        else:  # the empty first-layer segment of the second tile counts as usable
            part = read(GOLDEN[:size], allow_partial=True)
            check_partial(part, whole)
            assert not part.complete
            assert part.segments[0][0] == (SEGMENTS[0][0] if size >= 37 else None)
            assert part.alpha == (b"\xff" if size >= 42 else None)
            assert part.segments[1][0] == (SEGMENTS[1][0] if size >= 52 else None)
            assert part.chunks == ()


def test_partial_needs_a_first_layer_segment() -> None:
    header = dataclasses.replace(HEADER, width=256)
    data = write(header, [[b"1234"], [b"5678"]])
    head = read_head(data)
    for size in range(head.size, len(data)):
        if size < head.size + 6:
            with pytest.raises(FormatError, match="first layer"):
                read(data[:size], allow_partial=True)
        else:
            assert read(data[:size], allow_partial=True).segments == ((b"1234",), (None,))
    damaged = data.replace(b"1234", b"1235")
    with pytest.raises(FormatError, match="first layer"):
        read(damaged, allow_partial=True)


def test_every_single_bit_flip_is_found() -> None:
    whole = read(GOLDEN)
    for bit in range(8 * len(GOLDEN)):
        data = bytearray(GOLDEN)
        data[bit // 8] ^= 1 << bit % 8
        error = InputError if bit < 32 else FormatError
        with pytest.raises(error):
            read(bytes(data))
        if bit < 8 * HEAD_BYTES:
            with pytest.raises(error):
                read_head(bytes(data))
            with pytest.raises(error):
                read(bytes(data), allow_partial=True)
        else:
            part = read(bytes(data), allow_partial=True)
            check_partial(part, whole)
            assert not part.complete


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (f"00 00 {IDS} 00 00 00 00", "version at byte 4: expected 1, found 0"),
        (f"02 00 {IDS} 00 00 00 00", "newer version"),
        (f"01 20 {IDS} 00 00 00 00", "flags at byte 5.*newer version"),
        (f"01 80 {IDS} 00 00 00 40 00 00 00 00", "step at byte 19: expected 0..63, found 64"),
        (f"01 40 {IDS} 00 00 00 00", "window at byte 19: expected 16..32768, found 0"),
        (f"01 40 {IDS} 00 00 10 30 08 00", "high nibble of 0"),
        (f"01 40 {IDS} 00 00 00 20 00 00", "an overlap, or a side that is no power of two, found 32"),
        (f"01 40 {IDS} 00 00 00 30 19 00", "overlap must be 0..tile/2, got 25"),
        (f"01 00 {IDS} 8000 00 00 00", "width - 1 at byte 16: expected a canonical.*80 00"),
        (f"01 00 {IDS} 00 ffff8000 00 00", "height - 1 at byte 17: expected a canonical"),
        (f"01 00 {IDS} 808080808001 00 00 00", "canonical"),
        (f"01 00 {IDS} ffffffff10 00 00 00", "canonical"),
        (f"01 00 {IDS} 00 00 00 8000", "table of contents at byte 19: expected a canonical"),
        (f"01 00 {IDS} ffffffff0f 00 00 00", "width - 1 at byte 16: expected 0..1048575, found 4294967295"),
        (f"01 00 {IDS} 00 808040 00 00", "height - 1 at byte 17: expected 0..1048575, found 1048576"),
        (f"01 00 {IDS} 00 00 c0 00", "tile and layers at byte 18: expected 0..191, found 192"),
        (f"01 00 {IDS} ffff3f ffff3f 0f 00", "tile must be larger"),
        (f"01 00 {IDS} ff7f ff7f 00 00", "tile must be larger|table of contents.*1048576 entries.*cut"),
        (f"01 00 {IDS} 00 00 0f 00", "table of contents at byte 19: expected 16 entries, found 5 bytes"),
        (f"01 00 {IDS} 00 00 00 8080808001", "table of contents.*expected 0..134217727"),
        (f"01 04 {IDS} 00 00 00 00 00", "alpha length at byte 19: expected 1.."),
        (f"01 08 {IDS} 00 00 00 08 00", "chunks length at byte 19: expected 9..67108864, found 8"),
        (f"01 08 {IDS} 00 00 00 81808020 00", "chunks length.*found 67108865"),
        (f"01 00 {IDS} 00 00 07 {'ffffff3f' * 8}", None),
        (f"01 00 {IDS} 00 00 08 {'ffffff3f' * 8} 08", "at most 4294967295 bytes of segments"),
    ],
)
def test_invalid_heads(fields: str, message: str | None) -> None:
    data = head_of(fields)
    if message is None:
        assert read_head(data).file_bytes > 2**32 - 64
    else:
        with pytest.raises(FormatError, match=message):
            read_head(data)
    for partial in (False, True):
        with pytest.raises(FormatError):
            read(data, allow_partial=partial)


def test_lengths_beyond_the_file() -> None:
    for fields in (f"01 00 {IDS} 00 00 00 05", f"01 04 {IDS} 00 00 00 ffffffff0f 00"):
        data = head_of(fields)
        assert read_head(data).file_bytes > len(data)
        with pytest.raises(FormatError, match=r"end of file .*cut file"):
            read(data)


def test_files_of_other_formats() -> None:
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(40), b"VQC", b"\x8fVQD", b"\x8e"):
        with pytest.raises(InputError, match=r"not a \.vqc file"):
            read_head(data)


def test_trailing_bytes() -> None:
    with pytest.raises(FormatError, match=r"end of file at byte 63: expected 63 bytes, found 64 \(trailing bytes\)"):
        read(GOLDEN + b"\0")
    part = read(GOLDEN + b"\0", allow_partial=True)
    assert (part.segments, part.chunks, part.complete) == (SEGMENTS, (Chunk("eXIf", b"hi"),), False)


def test_damage_names_field_and_offset() -> None:
    with pytest.raises(FormatError, match=r"CRC of segment of layer 2, tile 0 at byte 50: expected 0x.*, found 0x"):
        read(GOLDEN.replace(b"\xaa\xbb", b"\xaa\xba"))


def with_chunks(tail: bytes) -> bytes:
    data = head_of(f"01 08 {IDS} 00 00 00 {varint_bytes(len(tail)).hex()} 00")
    return data + tail


def raw_chunk(kind: bytes, data: bytes, length: bytes | None = None) -> bytes:
    return (length or bytes([len(data)])) + kind + data + crc32(kind + data)


def test_unknown_chunks() -> None:
    data = with_chunks(raw_chunk(b"teSt", b"a") + raw_chunk(b"teSt", b"b"))
    assert read(data).chunks == (Chunk("teSt", b"a"), Chunk("teSt", b"b"))
    for kind in (b"TeSt", b"ICCP"):
        for partial in (False, True):
            with pytest.raises(FormatError, match=r"critical type .* newer version"):
                read(with_chunks(raw_chunk(kind, b"a")), allow_partial=partial)


@pytest.mark.parametrize(
    ("tail", "message", "kept"),
    [
        (raw_chunk(b"eXIf", b"a") * 2, "must occur once", None),
        (raw_chunk(b"eX\x80f", b""), "4 ASCII letters", None),
        (raw_chunk(b"eX1f", b""), "4 ASCII letters", None),
        (raw_chunk(b"teSt", b"") * 257, "at most 256", 256),
        (raw_chunk(b"teSt", b"", b"\x80\x00"), "canonical", 0),
        (raw_chunk(b"teSt", b"", bytes.fromhex("81808008")), "expected 0..16777216", 0),
        (raw_chunk(b"teSt", b"") + raw_chunk(b"teSt", b"", b"\x01"), "CRC-32 of chunk at byte", 1),
        (raw_chunk(b"teSt", b"") + b"\0", "chunk at byte", 1),
        (raw_chunk(b"teSt", b"a").replace(b"a", b"b") + raw_chunk(b"teSt", b""), "CRC-32 of chunk", 1),
    ],
)
def test_invalid_chunks(tail: bytes, message: str, kept: int | None) -> None:
    data = with_chunks(tail)
    with pytest.raises(FormatError, match=message):
        read(data)
    if kept is None:
        with pytest.raises(FormatError, match=message):
            read(data, allow_partial=True)
    else:
        part = read(data, allow_partial=True)
        assert (part.segments, len(part.chunks), part.complete) == (((b"",),), kept, False)


@settings(max_examples=300)
@given(st.binary(max_size=120), st.sampled_from(["", "head", "body"]), st.booleans())
def test_random_bytes(noise: bytes, kind: str, partial: bool) -> None:
    """Noise, noise after a valid start, and noise as a body give a file or a VqcError, never another error."""
    data = {"": b"", "head": MAGIC + b"\x01", "body": GOLDEN[:HEAD_BYTES]}[kind] + noise
    for function in (read_head, lambda d: read(d, allow_partial=partial)):
        try:
            function(data)
        except VqcError as error:
            assert isinstance(error, (InputError, FormatError, LimitError))  # noqa: PT017


@settings(max_examples=300)
@given(st.binary(min_size=14, max_size=80), st.integers(0, 15), st.binary(max_size=40))
def test_random_heads_with_a_correct_crc(noise: bytes, flags: int, body: bytes) -> None:
    """A hostile head can have a correct CRC: it must be refused all the same."""
    fields = MAGIC + bytes([1, flags]) + noise
    for size in range(len(fields) - 8, len(fields) + 1):
        data = fields[:size] + zlib.crc32(fields[:size]).to_bytes(4, "little") + body
        for partial in (False, True):
            try:
                file = read(data, allow_partial=partial)
            except VqcError as error:
                assert isinstance(error, (FormatError, LimitError))  # noqa: PT017
            else:
                assert file.complete or partial


def test_cut_files_mark_tiles_that_end_within_the_last_layer() -> None:
    header = dataclasses.replace(HEADER, cut=True)
    segments = [[b"abcd", b""], [b"", b"efghijkl"]]
    data = write(header, segments, partial=[False, True])
    file = read(data)
    assert file.head.partial == (False, True)
    assert len(file.head.contents) == 4
    assert [list(layer) for layer in file.segments] == segments
    assert read(write(header, segments)).head.partial == (False, False)
    with pytest.raises(ValueError, match="partial"):
        write(header, segments, partial=[True])
    with pytest.raises(ValueError, match="partial"):
        write(HEADER, segments, partial=[False, True])
