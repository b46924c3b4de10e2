"""The container: golden bytes, round trips, geometry, limits and overhead."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec import container
from vqcodec.container import Chunk, File, Head, Header, read, read_head, write, write_head
from vqcodec.container.bytes_reader import varint_bytes
from vqcodec.container.header import HEADER_FIELDS, LENGTH_FIELDS
from vqcodec.errors import FormatError, LimitError
from vqcodec.models.file_info import HEADER_NAMES, read_info

from ..containers import GOLDEN, HEAD_BYTES, HEADER, IDS, SEGMENTS, check_partial, crc16, crc32, head_of


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


@settings(max_examples=60)
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
    overhead = file.head.overhead_bytes
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


def test_golden_bytes() -> None:
    assert write(HEADER, SEGMENTS, b"\xff", [Chunk("eXIf", b"hi")]) == GOLDEN
    head = Head(HEADER, ((1, 0), (2, 0)), alpha_bytes=1, chunks_bytes=11)
    assert read(GOLDEN) == File(head, SEGMENTS, b"\xff", (Chunk("eXIf", b"hi"),), complete=True)
    assert [head.segment_offset(layer, tile) for layer in (0, 1) for tile in (0, 1)] == [31, 37, 42, 52]
    assert (head.alpha_offset, head.chunks_offset, head.file_bytes) == (37, 52, len(GOLDEN))
    assert head.overhead_bytes == HEAD_BYTES + 4
    assert len(head.contents) == 4


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
def test_number_of_tiles(length: int, tile: int, overlap: int, count: int) -> None:
    header = dataclasses.replace(HEADER, width=length, height=1, tile=tile, overlap=overlap)
    assert (header.tiles_x, header.tiles_y) == (count, 1)
    assert count == 1 or (count - 1) * (tile - overlap) + overlap < length <= count * (tile - overlap) + overlap


@pytest.mark.parametrize(("tile", "overlap"), [(256, 32), (48, 0), (48, 24), (32768, 16384)])
def test_windows_are_stated_in_the_head(tile: int, overlap: int) -> None:
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
                            head = Head(header, words, length, length)
                            assert head.size == len(write_head(head))
                            overhead = head.overhead_bytes
                            assert overhead <= (26 if length is None else 32) + 6 * segments


def test_large_picture() -> None:
    """12000 x 9000 px: 47 x 36 tiles, 8 layers."""
    header = Header(12000, 9000, bytes(6), bytes(4), 256, 8)
    segments = [[bytes([layer, t % 256, 0, 1]) * (t % 3) for t in range(header.n_tiles)] for layer in range(8)]
    data = write(header, segments)
    file = read(data)
    assert file.segments == tuple(map(tuple, segments))
    assert file.head.overhead_bytes <= 32 + 6 * header.n_tiles * 8
    assert file.head.file_bytes == len(data)


@pytest.mark.parametrize("words", [0, 63, 64, 127, 128, 8191, 8192, 16383])
@pytest.mark.parametrize("cut", [False, True])
def test_length_of_the_table_of_contents(words: int, cut: bool) -> None:
    """The other fields of a head have the same length for every table of contents."""
    header = dataclasses.replace(HEADER, cut=cut)
    row = [bytes(4 * words), b""]
    head = read_head(write(header, [row, row], partial=[True, False] if cut else ()))
    last = 2 * words + 1 if cut else words
    assert len(head.contents) == len(varint_bytes(words)) + len(varint_bytes(last)) + 2
    assert head.size - len(head.contents) == HEAD_BYTES - 2 - 4


def test_the_specification_lists_the_fields_of_the_table() -> None:
    text = Path(container.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")
    rows = text.split("| offset | size | field | values |\n|---|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    names = [row.split("|")[3].strip() for row in rows]
    fields = [field.name for field in (*HEADER_FIELDS, *LENGTH_FIELDS)]
    assert names == ["magic", "version", "flags", *fields, "table of contents", "CRC-32"]
    flagged = [f"flag bit {field.flag.bit_length() - 1}" for field in (*HEADER_FIELDS, *LENGTH_FIELDS) if field.flag]
    assert [row.split("only with ")[1][:10] for row in rows if "only with " in row] == flagged


def test_the_table_of_fields_holds_every_attribute_of_the_header() -> None:
    """Every field of `Header` is stored by a row of the table or a flag, and repeated by `Info`."""
    attributes = {field.name for field in dataclasses.fields(Header)}
    stored = {field.attribute for field in HEADER_FIELDS} | {"grey", "cut", "mapped"}
    assert stored - {"tile_and_layers"} == attributes - {"n_layers"} == set(HEADER_NAMES)
    header = dataclasses.replace(HEADER, tile=48, overlap=8, grey=True, mapped=True, step=7)
    info = read_info(write(header, [[b""] * header.n_tiles] * 2))
    for name in HEADER_NAMES:
        value = getattr(header, name)
        assert getattr(info, name) == (value.hex() if isinstance(value, bytes) else value)
