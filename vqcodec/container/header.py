"""Head of a .vqc file: its fields, declared once in HEADER_FIELDS and LENGTH_FIELDS, and its table of contents.

The tables drive writing, reading and the size of the head; flags without a field are in `Head.flags` and in
`_read_header`. FORMAT.md specifies the layout. Every length in a file is a claim: it is compared with the bytes present
before memory is allocated for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from ..errors import FormatError, InputError, LimitError
from .bytes_reader import MAX_VARINT, Reader, fault, varint_bytes
from .chunks import MAX_CHUNKS_BYTES
from .fields import Byte, Field, Raw, Varint
from .foreign import foreign

MAGIC = b"\x8fVQC"
VERSION = 1

CUT, GREY, ALPHA, CHUNKS, MAPPED, WINDOWS, STEPPED = 1, 2, 4, 8, 16, 64, 128  # bits of the flags byte
RESERVED = 0xFF & ~(CUT | GREY | ALPHA | CHUNKS | MAPPED | STEPPED | WINDOWS)

MAX_SIDE = 2**20
MAX_PIXELS = 2**28
"""Default limit on width times height of a reader; not part of the format."""
MAX_LAYERS = 16
MIN_TILE, MAX_TILE = 16, 32768
MAX_STEP = 63
MAX_SEGMENTS = 2**20
MAX_WORDS = 2**27 - 1
"""32-bit words of one segment: its entry in the table of contents then takes at most 4 bytes."""
MAX_SEGMENT_BYTES = 2**32 - 1
"""Bytes of all segments together."""
MAX_HEAD_BYTES = 4 * MAX_SEGMENTS + 64
"""Upper bound of the size of a head: an entry of the table of contents takes at most 4 bytes, all fields at most 64."""

HEADER_FIELDS = (
    Field("token_id", "token identity", Raw(6)),
    Field("entropy_id", "entropy identity", Raw(4)),
    Field("width", "width - 1", Varint(0, MAX_SIDE - 1), bias=1),
    Field("height", "height - 1", Varint(0, MAX_SIDE - 1), bias=1),
    Field("tile_and_layers", "tile and layers", Byte(0x00, 0xBF)),
    Field("tile", "window", Varint(MIN_TILE, MAX_TILE), WINDOWS),
    Field("overlap", "overlap", Varint(0, MAX_TILE // 2), WINDOWS),
    Field("step", "step", Byte(0, MAX_STEP), STEPPED),
)
"""Fields of `Header` in the order of the file, after the magic, the version and the flags."""

LENGTH_FIELDS = (
    Field("alpha_bytes", "alpha length", Varint(1, MAX_VARINT), ALPHA),
    Field("chunks_bytes", "chunks length", Varint(9, MAX_CHUNKS_BYTES), CHUNKS),
)
"""Fields of `Head` that follow those of `Header`; the table of contents follows them."""


@dataclass(frozen=True)
class Header:
    """Geometry of the picture, and the identity of the model that coded it.

    HEADER_FIELDS drive writing, reading and the size of the head. Flags without a field (`grey`, `cut`, `mapped`) are
    written by `Head.flags` and read by `_read_header`.

    Raises: ValueError, naming the attribute, if a value is out of its range.
    """

    width: int
    """Columns, 1..2**20 px."""
    height: int
    """Rows, 1..2**20 px."""
    token_id: bytes
    """Identity of the token space, 6 bytes."""
    entropy_id: bytes
    """Identity of the entropy model, 4 bytes."""
    tile: int
    """Side of an access tile, 16..32768 px."""
    n_layers: int
    """Layers present, 1..16."""
    grey: bool = False
    """The picture is grey: R, G and B are equal."""
    cut: bool = False
    """The file was shortened by a writer: a tile's segment of the last layer may end at any word."""
    overlap: int = 0
    """Pixels that a tile and the next one share, 0..tile / 2; more than 0 only where tiles are a network's windows."""
    mapped: bool = False
    """The first segment of a tile begins with its layer map: the number of layers kept in each block of tokens."""
    step: int | None = None
    """Number of the quantization step, 0..63; None for models without one."""

    def __post_init__(self) -> None:
        for field in HEADER_FIELDS:
            value = getattr(self, field.attribute)
            if field.attribute == "tile_and_layers" or value is None:
                continue
            if isinstance(field.form, Raw):
                good, rule = len(value) == field.form.size, f"{field.form.size} bytes"
            else:
                low, high = field.form.low + field.bias, field.form.high + field.bias
                good, rule = low <= value <= high, f"{low}..{high}"
            if not good:
                raise ValueError(f"{field.attribute} must be {rule}, got {value!r}")
        if 2 * self.overlap > self.tile:
            raise ValueError(f"overlap must be 0..tile/2, got {self.overlap}")
        if not 1 <= self.n_layers <= MAX_LAYERS:
            raise ValueError(f"n_layers must be 1..{MAX_LAYERS}, got {self.n_layers}")
        if self.n_tiles * self.n_layers > MAX_SEGMENTS:
            raise ValueError(f"tile must be larger: {self.n_tiles * self.n_layers} segments are over {MAX_SEGMENTS}")

    @property
    def tiles_x(self) -> int:
        """Access tiles in a row."""
        return tiles_along(self.width, self.tile, self.overlap)

    @property
    def tiles_y(self) -> int:
        """Access tiles in a column."""
        return tiles_along(self.height, self.tile, self.overlap)

    @property
    def n_tiles(self) -> int:
        """Access tiles, all of them."""
        return self.tiles_x * self.tiles_y

    @property
    def windows(self) -> bool:
        """True if tile side and overlap need fields of their own: `tile_and_layers` holds powers of two, no overlap."""
        return self.overlap > 0 or bool(self.tile & (self.tile - 1))

    @property
    def tile_and_layers(self) -> int:
        """High four bits: log2(tile) - 4, or 0 for windows; low four bits: n_layers - 1."""
        return (0 if self.windows else self.tile.bit_length() - 5) << 4 | (self.n_layers - 1)


@dataclass(frozen=True)
class Head:
    """All that precedes the first segment; it fixes the offset of every part of the file."""

    header: Header
    words: tuple[tuple[int, ...], ...]
    """[layer][tile], length of each segment in 32-bit words, 0..MAX_WORDS."""
    alpha_bytes: int | None = None
    """Length of the alpha data without its CRC-32; None: the file has no alpha."""
    chunks_bytes: int | None = None
    """Length of all chunks as stored; None: the file has none."""
    partial: tuple[bool, ...] = ()
    """Cut file: for each tile, True if its segment of the last layer ends within that layer. Other files: empty."""

    @property
    def flags(self) -> int:
        """The flags byte."""
        header = self.header
        stated = {
            CUT: header.cut,
            GREY: header.grey,
            ALPHA: self.alpha_bytes is not None,
            CHUNKS: self.chunks_bytes is not None,
            MAPPED: header.mapped,
            WINDOWS: header.windows,
            STEPPED: header.step is not None,
        }
        return sum(bit for bit, value in stated.items() if value)

    @cached_property
    def fields(self) -> bytes:
        """All fields as stored: what precedes the table of contents."""
        parts = [MAGIC, bytes([VERSION, self.flags])]
        for owner, fields in ((self.header, HEADER_FIELDS), (self, LENGTH_FIELDS)):
            for field in fields:
                if not field.flag or self.flags & field.flag:
                    value = getattr(owner, field.attribute)
                    parts.append(field.form.write(value - field.bias if field.bias else value))
        return b"".join(parts)

    @cached_property
    def contents(self) -> bytes:
        """The table of contents as stored; `_read_contents` is its inverse."""
        *rows, last = self.words
        if self.header.cut:
            last = tuple(2 * n + p for n, p in zip(last, self.partial, strict=True))
        return b"".join(varint_bytes(n) for row in (*rows, last) for n in row)

    @property
    def size(self) -> int:
        """Bytes of the head with its CRC-32."""
        return len(self.fields) + len(self.contents) + 4

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        """[layer * n_tiles + tile] byte offsets of the segments, then the end of the last one."""
        sizes = [stored_bytes(n) for layer in self.words for n in layer]
        sizes[self.header.n_tiles - 1] += (self.alpha_bytes or 0) + self.alpha_crc_bytes
        return tuple(accumulate(sizes, initial=self.size))

    def segment_offset(self, layer: int, tile: int) -> int:
        """Byte offset in the file of segment [layer][tile], both from 0. Raises IndexError if there is none."""
        if not (0 <= layer < self.header.n_layers and 0 <= tile < self.header.n_tiles):
            raise IndexError(f"no segment of layer {layer}, tile {tile}")
        return self._offsets[layer * self.header.n_tiles + tile]

    def segment_end(self, layer: int, tile: int) -> int:
        """Byte offset of the end of segment [layer][tile] with its CRC-16."""
        return self.segment_offset(layer, tile) + stored_bytes(self.words[layer][tile])

    @property
    def alpha_crc_bytes(self) -> int:
        """Length of the CRC-32 of the alpha data: 4, or 0 without alpha."""
        return 0 if self.alpha_bytes is None else 4

    @property
    def alpha_offset(self) -> int:
        """Byte offset of the alpha data: directly after layer 1, so that a cut file keeps its alpha."""
        return self.segment_end(0, self.header.n_tiles - 1)

    @property
    def chunks_offset(self) -> int:
        """Byte offset of the chunks: the end of the last segment."""
        return self._offsets[-1]

    @property
    def file_bytes(self) -> int:
        """Exact length of the whole file."""
        return self.chunks_offset + (self.chunks_bytes or 0)

    @property
    def overhead_bytes(self) -> int:
        """Bytes of the head and the CRC-16s: the file without segments, alpha and chunks and the CRC-32s of these."""
        return self.size + 2 * sum(n > 0 for layer in self.words for n in layer)


def write_head(head: Head) -> bytes:
    """The head as stored: fields, table of contents, CRC-32."""
    data = head.fields + head.contents
    return data + zlib.crc32(data).to_bytes(4, "little")


def read_head(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Head:
    """Read the head from `data`: a file, or a prefix of one that holds the whole head (MAX_HEAD_BYTES always does).

    Raises:
        InputError: the magic does not match.
        FormatError: the head is cut, damaged, or made by a newer version.
        LimitError: the picture has more than `max_pixels` pixels; None: no limit.
    """
    if not data or not data.startswith(MAGIC[: len(data)]):
        raise InputError(foreign(data[:16]))
    r = Reader(data, 0, len(data))
    r.take(4, "magic")
    version, flags = r.byte("version"), r.byte("flags")
    if version != VERSION:
        raise fault("version", 4, str(VERSION), f"{version}: made by a newer version, or damaged")
    if flags & RESERVED:
        raise fault("flags", 5, "reserved bits zero", f"{flags:#04x}: made by a newer version, or damaged")
    header = _read_header(r, flags)
    lengths = _read_fields(LENGTH_FIELDS, r, flags)
    n_entries = header.n_layers * header.n_tiles
    if n_entries > r.end - r.pos:  # an entry is at least one byte
        raise fault("table of contents", r.pos, f"{n_entries} entries", f"{r.end - r.pos} bytes (cut or damaged)")
    words, partial = _read_contents(r, header)
    right, crc = zlib.crc32(data[: r.pos]), int.from_bytes(r.take(4, "CRC-32 of the head"), "little")
    if crc != right:
        raise fault("CRC-32 of the head", r.pos - 4, f"{right:#010x}", f"{crc:#010x}")
    if (total := 4 * sum(map(sum, words))) > MAX_SEGMENT_BYTES:
        raise fault("table of contents", r.pos, f"at most {MAX_SEGMENT_BYTES} bytes of segments", str(total))
    n_pixels = header.width * header.height
    if max_pixels is not None and n_pixels > max_pixels:  # checked after the CRC: damage is a FormatError
        raise LimitError(
            f"{header.width}x{header.height} is over the limit of {max_pixels} pixels; raise it with --max-pixels"
        )
    return Head(header, words, partial=partial, **lengths)


def _read_fields(fields: Sequence[Field], r: Reader, flags: int) -> dict[str, Any]:
    """Values of the fields present, by attribute."""
    values: dict[str, Any] = {}
    for field in fields:
        if not field.flag or flags & field.flag:
            value: Any = field.form.read(r, field.name)
            values[field.attribute] = value + field.bias if field.bias else value
    return values


def _read_header(r: Reader, flags: int) -> Header:
    """The fields of `Header`. Raises FormatError for values that contradict each other."""
    start = r.pos
    values = _read_fields(HEADER_FIELDS, r, flags)
    packed = values.pop("tile_and_layers")
    if flags & WINDOWS and packed >> 4:
        raise FormatError(f"header at byte {start}: windows need a high nibble of 0 in tile and layers: {packed:#04x}")
    values = {"tile": 16 << (packed >> 4), "n_layers": (packed & 15) + 1} | values
    try:
        header = Header(grey=bool(flags & GREY), cut=bool(flags & CUT), mapped=bool(flags & MAPPED), **values)
    except ValueError as error:
        raise FormatError(f"header at byte {start}: {error}") from error
    if header.windows != bool(flags & WINDOWS):
        raise fault("window", r.pos, "an overlap, or a side that is no power of two", str(header.tile))
    return header


def _read_contents(r: Reader, header: Header) -> tuple[tuple[tuple[int, ...], ...], tuple[bool, ...]]:
    """`Head.words` and `Head.partial`; inverse of `Head.contents`."""
    tiles, name = range(header.n_tiles), "table of contents"
    rows = [tuple(r.varint(name, 0, MAX_WORDS) for _ in tiles) for _ in range(header.n_layers - header.cut)]
    if not header.cut:
        return tuple(rows), ()
    last = [r.varint(name, 0, 2 * MAX_WORDS + 1) for _ in tiles]
    return (*rows, tuple(n >> 1 for n in last)), tuple(bool(n & 1) for n in last)


def tiles_along(length: int, tile: int, overlap: int = 0) -> int:
    """Number of tiles of `tile` px, each sharing `overlap` px with the next, that cover `length` px."""
    return max(1, -(-(length - overlap) // (tile - overlap)))


def stored_bytes(words: int) -> int:
    """Bytes of a segment in the file with its CRC-16; an empty segment has none."""
    return 4 * words + 2 if words else 0
