"""The container: golden bytes, round trips, and what happens to files that are cut, damaged or made up."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec import container
from vqcodec.container import MAGIC, Chunk, File, Head, Header, overhead_bytes, read, read_head, write
from vqcodec.errors import FormatError, InputError, LimitError, VqcError
from vqcodec.wire import varint_bytes

# The worked example of FORMAT.md: 300x200 px, two tiles of 256 px, two layers, constant alpha 255, one chunk.
GOLDEN = bytes.fromhex(
    "8f565143 01 0c 010203040506 0a0b0c0d ab02 c701 41 01 0b  01 00 02 00  659687e7"
    "11223344 f359  ff 000000ff  aabbccddeeff0011 78d7  02 65584966 6869 362394d2"
)
HEADER = Header(300, 200, bytes.fromhex("010203040506"), bytes.fromhex("0a0b0c0d"), tile=256, n_layers=2)
SEGMENTS = ((b"\x11\x22\x33\x44", b""), (b"\xaa\xbb\xcc\xdd\xee\xff\x00\x11", b""))
HEAD_BYTES = 31


def crc_bitwise(data: bytes, width: int, poly: int, start: int, reflect: bool) -> int:
    """A CRC by its definition, independent of the library functions."""
    crc, top, mask = start, 1 << (width - 1), (1 << width) - 1
    for byte in data:
        for i in range(8):
            bit = byte >> (i if reflect else 7 - i) & 1
            crc = (crc << 1 & mask) ^ (poly if bool(crc & top) != bool(bit) else 0)
    return int(f"{crc:0{width}b}"[::-1], 2) if reflect else crc


def crc16(data: bytes) -> bytes:
    return crc_bitwise(data, 16, 0x1021, 0xFFFF, False).to_bytes(2, "little")


def crc32(data: bytes) -> bytes:
    return (crc_bitwise(data, 32, 0x04C11DB7, 0xFFFFFFFF, True) ^ 0xFFFFFFFF).to_bytes(4, "little")


def head_of(fields: str) -> bytes:
    """Bytes of a head from version on in hex, with the magic and a right CRC added."""
    data = MAGIC + bytes.fromhex(fields)
    return data + zlib.crc32(data).to_bytes(4, "little")


IDS = "010203040506 0a0b0c0d"


@st.composite
def files(draw: st.DrawFn) -> tuple[Header, list[list[bytes]], bytes | None, list[Chunk]]:
    tile = 1 << draw(st.integers(4, 15))
    width, height = (draw(st.integers(1, 4)) * tile - draw(st.integers(0, tile - 1)) for _ in range(2))
    header = Header(
        width, height, draw(st.binary(min_size=6, max_size=6)), draw(st.binary(min_size=4, max_size=4)), tile,
        draw(st.integers(1, 16)), draw(st.booleans()), draw(st.booleans()),
    )  # fmt: skip
    data = draw(st.randoms(use_true_random=False))
    sizes = [0, 0, 4, 8, 40, 4 * 130]
    segments = [[data.randbytes(data.choice(sizes)) for _ in range(header.n_tiles)] for _ in range(header.n_layers)]
    kinds = draw(st.lists(st.sampled_from(["iCCP", "eXIf", "xMPd", "teSt"]), unique=True))
    chunks = [Chunk(kind, draw(st.binary(max_size=200))) for kind in kinds]
    return header, segments, draw(st.none() | st.binary(min_size=1, max_size=200)), chunks


@settings(max_examples=60, deadline=None)
@given(files(), st.integers(min_value=0))
def test_round_trip(parts: tuple[Header, list[list[bytes]], bytes | None, list[Chunk]], cut: int) -> None:
    header, segments, alpha, chunks = parts
    data = write(header, segments, alpha, chunks)
    file = read(data, max_pixels=None)
    assert file.header == header
    assert file.segments == tuple(map(tuple, segments))
    assert (file.alpha, file.chunks, file.complete) == (alpha, tuple(chunks), True)
    assert file.head.file_bytes == len(data)
    assert write(file.header, file.segments, file.alpha, file.chunks) == data  # type: ignore[arg-type]
    for layer in range(header.n_layers):
        for tile in range(header.n_tiles):
            start, segment = file.head.segment_offset(layer, tile), segments[layer][tile]
            assert data[start : start + len(segment)] == segment
    coded = sum(len(s) for row in segments for s in row)
    overhead = overhead_bytes(file.head)
    stored_alpha = 0 if alpha is None else len(alpha) + file.head.alpha_crc_bytes
    assert coded + overhead + stored_alpha + (file.head.chunks_bytes or 0) == len(data)

    head = read_head(data[: file.head.size], max_pixels=None)
    assert head == file.head
    left = data[: head.size + cut % (len(data) - head.size + 1)]
    try:
        part = read(left, allow_partial=True, max_pixels=None)
    except FormatError:
        assert not any(head.segment_offset(0, t) + len(segments[0][t]) + 2 <= len(left) for t in range(header.n_tiles))
    else:
        check_partial(part, file)
        for layer, row in enumerate(segments):
            for tile, segment in enumerate(row):
                end = head.segment_offset(layer, tile) + len(segment) + 2
                assert part.segments[layer][tile] == (segment if end <= len(left) or not segment else None)


def check_partial(part: File, whole: File) -> None:
    """Whatever `part` gives is what `whole` has."""
    assert part.head == whole.head
    for ours, right in zip(part.segments, whole.segments, strict=True):
        assert all(a is None or a == b for a, b in zip(ours, right, strict=True))
    assert any(s is not None for s in part.segments[0])
    assert part.alpha in (None, whole.alpha)
    assert set(part.chunks) <= set(whole.chunks)


def test_golden_bytes() -> None:
    assert write(HEADER, SEGMENTS, b"\xff", [Chunk("eXIf", b"hi")]) == GOLDEN
    head = Head(HEADER, ((1, 0), (2, 0)), alpha_bytes=1, chunks_bytes=11, size=HEAD_BYTES)
    assert read(GOLDEN) == File(head, SEGMENTS, b"\xff", (Chunk("eXIf", b"hi"),), complete=True)
    assert [head.segment_offset(layer, tile) for layer in (0, 1) for tile in (0, 1)] == [31, 37, 42, 52]
    assert (head.alpha_offset, head.chunks_offset, head.file_bytes) == (37, 52, len(GOLDEN))
    assert overhead_bytes(head) == HEAD_BYTES + 4
    assert head.contents_bytes == 4


def test_golden_crcs_by_definition() -> None:
    assert crc16(b"123456789") == (0x29B1).to_bytes(2, "little")
    assert crc32(b"123456789") == (0xCBF43926).to_bytes(4, "little")
    assert GOLDEN[27:31] == crc32(GOLDEN[:27])
    assert GOLDEN[35:37] == crc16(SEGMENTS[0][0])
    assert GOLDEN[38:42] == crc32(b"\xff")
    assert GOLDEN[50:52] == crc16(SEGMENTS[1][0])
    assert GOLDEN[-4:] == crc32(b"eXIfhi")


def test_worked_example_of_the_specification() -> None:
    text = Path(container.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")
    at = 0
    for line in text.split("```text\n")[1].split("```")[0].splitlines():
        assert int(line[:2]) == at
        part = bytes.fromhex(line[2:23])
        assert GOLDEN[at : at + len(part)] == part
        at += len(part)
    assert at == len(GOLDEN)


def test_flags_and_geometry_bits() -> None:
    header = dataclasses.replace(HEADER, width=1, height=1, tile=32768, n_layers=16, grey=True, cut=True)
    data = write(header, [[b""]] * 16)
    assert data == head_of(f"01 03 {IDS} 00 00 bf" + "00" * 16)
    assert read(data).header == header
    assert (header.tiles_x, header.tiles_y) == (1, 1)
    with pytest.raises(IndexError):
        read_head(data).segment_offset(0, 1)
    with pytest.raises(IndexError):
        read_head(data).segment_offset(-1, 0)


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
        else:  # the second tile has an empty first-layer segment, and that counts
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
        (f"01 10 {IDS} 00 00 00 00", "flags at byte 5.*newer version"),
        (f"01 20 {IDS} 00 00 00 00", "newer version"),
        (f"01 40 {IDS} 00 00 00 00", "window at byte 19: expected 16..32768, found 0"),
        (f"01 40 {IDS} 00 00 10 30 08 00", "high nibble of 0"),
        (f"01 40 {IDS} 00 00 00 20 00 00", "an overlap, or a side that is no power of two, found 32"),
        (f"01 40 {IDS} 00 00 00 30 19 00", "overlap must be 0..tile/2, got 25"),
        (f"01 80 {IDS} 00 00 00 00", "newer version"),
        (f"01 00 {IDS} 8000 00 00 00", "width at byte 16: expected a canonical.*80 00"),
        (f"01 00 {IDS} 00 ffff8000 00 00", "height at byte 17: expected a canonical"),
        (f"01 00 {IDS} 808080808001 00 00 00", "canonical"),
        (f"01 00 {IDS} ffffffff10 00 00 00", "canonical"),
        (f"01 00 {IDS} 00 00 00 8000", "table of contents at byte 19: expected a canonical"),
        (f"01 00 {IDS} ffffffff0f 00 00 00", "width must be 1..1048576, got 4294967296"),
        (f"01 00 {IDS} 00 808040 00 00", "height must be 1..1048576, got 1048577"),
        (f"01 00 {IDS} 00 00 c0 00", "tile must be"),
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
def test_heads_that_cannot_be(fields: str, message: str | None) -> None:
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


def test_other_files_are_not_ours() -> None:
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
def test_bad_chunks(tail: bytes, message: str, kept: int | None) -> None:
    data = with_chunks(tail)
    with pytest.raises(FormatError, match=message):
        read(data)
    if kept is None:
        with pytest.raises(FormatError, match=message):
            read(data, allow_partial=True)
    else:
        part = read(data, allow_partial=True)
        assert (part.segments, len(part.chunks), part.complete) == (((b"",),), kept, False)


def test_pixel_limit() -> None:
    header = dataclasses.replace(HEADER, width=2**15, height=2**13 + 1, tile=32768, n_layers=1)
    data = write(header, [[b""]])
    for function in (read, read_head):
        with pytest.raises(LimitError, match="--max-pixels"):
            function(data)
        function(data, max_pixels=None)
        function(data, max_pixels=2**28 + 2**15)
        with pytest.raises(LimitError):
            function(data, max_pixels=2**28 + 2**15 - 1)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"width": 2**20 + 1}, {"height": 0}, {"height": -5}, {"token_id": b"12345"},
        {"entropy_id": b"12345"}, {"tile": 8}, {"tile": 0}, {"tile": 65536}, {"overlap": -1},
        {"tile": 48, "overlap": 25}, {"n_layers": 0},
        {"n_layers": 17}, {"tile": 16, "width": 2**20, "height": 2**10},
    ],
)  # fmt: skip
def test_header_out_of_range(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(HEADER, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "count"),
    [(1, 256, 0, 1), (256, 256, 32, 1), (257, 256, 32, 2), (480, 256, 32, 2), (481, 256, 32, 3), (513, 256, 0, 3)],
)
def test_tiles_cover_the_picture_and_no_more(length: int, tile: int, overlap: int, count: int) -> None:
    header = dataclasses.replace(HEADER, width=length, height=1, tile=tile, overlap=overlap)
    assert (header.tiles_x, header.tiles_y) == (count, 1)
    assert count == 1 or (count - 1) * (tile - overlap) + overlap < length <= count * (tile - overlap) + overlap


@pytest.mark.parametrize(("tile", "overlap"), [(256, 32), (48, 0), (48, 24), (32768, 16384)])
def test_windows_are_told_by_the_head(tile: int, overlap: int) -> None:
    header = dataclasses.replace(HEADER, width=600, height=300, tile=tile, overlap=overlap, n_layers=1)
    data = write(header, [[b""] * header.n_tiles])
    assert read(data).header == header
    plain = write(dataclasses.replace(header, tile=256, overlap=0), [[b""] * 6])
    assert data[5] == plain[5] | 64


def test_write_checks_its_arguments() -> None:
    for segments in ([], [[b"", b""]], [[b""], [b""]], [[b"", b""], [b""]], [[b"", b""], [b"", b"123"]]):
        with pytest.raises(ValueError, match="segments"):
            write(HEADER, segments)
    with pytest.raises(ValueError, match="alpha"):
        write(HEADER, SEGMENTS, alpha=b"")
    for kinds in (["ICCP"], ["abc"], ["ab1d"], ["abcé"], ["\udc80bcd"], ["eXIf", "eXIf"]):
        with pytest.raises(ValueError, match="chunks"):
            write(HEADER, SEGMENTS, chunks=[Chunk(kind, b"") for kind in kinds])


def test_metadata_limits() -> None:
    whole = bytes(16 * 2**20)
    assert read(write(HEADER, SEGMENTS, chunks=[Chunk("eXIf", whole)])).chunks[0].data == whole
    with pytest.raises(LimitError, match="eXIf"):
        write(HEADER, SEGMENTS, chunks=[Chunk("eXIf", whole + b"\0")])
    with pytest.raises(LimitError, match="together"):
        write(HEADER, SEGMENTS, chunks=[Chunk("teSt", whole)] * 4)
    with pytest.raises(LimitError, match="together"):
        write(HEADER, SEGMENTS, chunks=[Chunk("teSt", b"")] * 257)


def test_overhead_bound() -> None:
    """At most 32 bytes and 6 per segment, whatever the segments' lengths, up to 2**28 pixels.

    The lengths of alpha and chunks are in the head: six bytes of the 32 are theirs, with both below 2 MiB.
    """
    sides = [1, 128, 129, 768, 12000, 16384, 16385, 2**18, 2**20]
    for width in sides:
        for height in [h for h in sides if width * h <= 2**28]:
            for tile in (16, 256, 32768):
                for layers in (1, 8, 16):
                    segments = -(-width // tile) * -(-height // tile) * layers
                    if segments > 4096:
                        continue
                    header = Header(width, height, bytes(6), bytes(4), tile, layers)
                    for n in (0, 1, 127, 128, container.MAX_WORDS):
                        words = ((n,) * header.n_tiles,) * layers
                        for length in (None, 2**21 - 1):
                            size = len(container._write_head(header, words, length, length))
                            overhead = overhead_bytes(Head(header, words, length, length, size))
                            assert overhead <= (26 if length is None else 32) + 6 * segments


def test_large_picture() -> None:
    """12000 x 9000 px: 47 x 36 tiles, 8 layers."""
    header = Header(12000, 9000, bytes(6), bytes(4), 256, 8)
    segments = [[bytes([layer, t % 256, 0, 1]) * (t % 3) for t in range(header.n_tiles)] for layer in range(8)]
    data = write(header, segments)
    file = read(data)
    assert file.segments == tuple(map(tuple, segments))
    assert overhead_bytes(file.head) <= 32 + 6 * header.n_tiles * 8
    assert file.head.file_bytes == len(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from(["", "head", "body"]), st.booleans())
def test_random_bytes(noise: bytes, kind: str, partial: bool) -> None:
    """Noise, noise behind a right start, and noise for a body: an error of ours or a file, never anything else."""
    data = {"": b"", "head": MAGIC + b"\x01", "body": GOLDEN[:HEAD_BYTES]}[kind] + noise
    for function in (read_head, lambda d: read(d, allow_partial=partial)):
        try:
            function(data)
        except VqcError as error:
            assert isinstance(error, (InputError, FormatError, LimitError))  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=14, max_size=80), st.integers(0, 15), st.binary(max_size=40))
def test_random_heads_with_a_right_crc(noise: bytes, flags: int, body: bytes) -> None:
    """The CRC stops accidents, not intent: a head that someone made up must not harm either."""
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


def test_a_cut_file_says_which_tiles_end_within_the_last_layer() -> None:
    header = dataclasses.replace(HEADER, cut=True)
    segments = [[b"abcd", b""], [b"", b"efghijkl"]]
    data = write(header, segments, partial=[False, True])
    file = read(data)
    assert file.head.partial == (False, True)
    assert file.head.contents_bytes == 4
    assert [list(layer) for layer in file.segments] == segments
    assert read(write(header, segments)).head.partial == (False, False)
    with pytest.raises(ValueError, match="partial"):
        write(header, segments, partial=[True])
    with pytest.raises(ValueError, match="partial"):
        write(HEADER, segments, partial=[False, True])


@pytest.mark.parametrize("words", [0, 63, 64, 127, 128, 8191, 8192, 16383])
@pytest.mark.parametrize("cut", [False, True])
def test_the_length_of_the_table_of_contents(words: int, cut: bool) -> None:
    """All else in a head is of the same length for every table of contents."""
    header = dataclasses.replace(HEADER, cut=cut)
    row = [bytes(4 * words), b""]
    head = read_head(write(header, [row, row], partial=[True, False] if cut else ()))
    last = 2 * words + 1 if cut else words
    assert head.contents_bytes == len(varint_bytes(words)) + len(varint_bytes(last)) + 2
    assert head.size - head.contents_bytes == HEAD_BYTES - 2 - 4
