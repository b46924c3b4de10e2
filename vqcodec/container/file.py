"""The `.vqc` container: head, segments, alpha and chunks to bytes and back; knows nothing of what a segment means.

`alpha.py` makes the alpha bytes, `entropy/` the words of a segment. `FORMAT.md` specifies the layout.
Every length in a file is a claim: it is held against the bytes that are there before anything is made from it.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from ..errors import FormatError, InputError, LimitError
from .bytes_reader import MAX_VARINT, Reader, fault, varint_bytes
from .chunks import MAX_CHUNKS_BYTES, Chunk, read_chunks, write_chunks

MAGIC = b"\x8fVQC"
VERSION = 1

CUT, GREY, ALPHA, CHUNKS, MAPPED, WINDOWS, STEPPED = 1, 2, 4, 8, 16, 64, 128  # bits of the flags byte
RESERVED = 0xFF & ~(CUT | GREY | ALPHA | CHUNKS | MAPPED | STEPPED | WINDOWS)

MAX_SIDE = 2**20
MAX_LAYERS = 16
MIN_TILE, MAX_TILE = 16, 32768
MAX_STEP = 63
MAX_SEGMENTS = 2**20
MAX_WORDS = 2**27 - 1  # of one segment: its entry in the table of contents then takes at most 4 bytes
MAX_SEGMENT_BYTES = 2**32 - 1  # of all segments together


@dataclass(frozen=True)
class Header:
    """What the picture is and which model made it. Out of range: ValueError."""

    width: int
    """1..2**20 px."""
    height: int
    """1..2**20 px."""
    token_id: bytes
    """6 bytes: identity of the token space."""
    entropy_id: bytes
    """4 bytes: identity of the entropy model."""
    tile: int
    """Side of an access tile, 16..32768 px."""
    n_layers: int
    """Layers present, 1..16."""
    grey: bool = False
    cut: bool = False
    """The last kept segment of a tile may end at any word."""
    overlap: int = 0
    """How far a tile reaches into the next one, 0..tile/2 px: more than 0 where tiles are windows of a network."""
    mapped: bool = False
    """The first layer of a tile begins with a map of how many layers are kept from place to place."""
    step: int | None = None
    """Number of the quantization step, 0..63, of models that have one for each file."""

    def __post_init__(self) -> None:
        for name, value, good, rule in (
            ("width", self.width, 1 <= self.width <= MAX_SIDE, f"1..{MAX_SIDE}"),
            ("height", self.height, 1 <= self.height <= MAX_SIDE, f"1..{MAX_SIDE}"),
            ("token_id", self.token_id, len(self.token_id) == 6, "6 bytes"),
            ("entropy_id", self.entropy_id, len(self.entropy_id) == 4, "4 bytes"),
            ("tile", self.tile, MIN_TILE <= self.tile <= MAX_TILE, f"{MIN_TILE}..{MAX_TILE}"),
            ("overlap", self.overlap, 0 <= 2 * self.overlap <= self.tile, "0..tile/2"),
            ("step", self.step, self.step is None or 0 <= self.step <= MAX_STEP, f"0..{MAX_STEP} or None"),
            ("n_layers", self.n_layers, 1 <= self.n_layers <= MAX_LAYERS, f"1..{MAX_LAYERS}"),
        ):
            if not good:
                raise ValueError(f"{name} must be {rule}, got {value!r}")
        if self.n_tiles * self.n_layers > MAX_SEGMENTS:
            raise ValueError(f"tile must be larger: {self.n_tiles * self.n_layers} segments are over {MAX_SEGMENTS}")

    @property
    def tiles_x(self) -> int:
        return tiles_along(self.width, self.tile, self.overlap)

    @property
    def tiles_y(self) -> int:
        return tiles_along(self.height, self.tile, self.overlap)

    @property
    def n_tiles(self) -> int:
        return self.tiles_x * self.tiles_y

    @property
    def windows(self) -> bool:
        """Whether the tiling is more than a power of two can say."""
        return self.overlap > 0 or bool(self.tile & (self.tile - 1))


@dataclass(frozen=True)
class Head:
    """Everything before the first segment."""

    header: Header
    words: tuple[tuple[int, ...], ...]
    """[layer][tile], length of each segment in 32-bit words."""
    alpha_bytes: int | None
    chunks_bytes: int | None
    size: int
    """Bytes of the head with its CRC-32."""
    partial: tuple[bool, ...] = ()
    """Of a cut file, for each tile: whether its segment of the last layer ends within that layer. Else empty."""

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        """[layer * n_tiles + tile] byte offsets of the segments, then the end of the last one."""
        sizes = [_stored(n) for layer in self.words for n in layer]
        sizes[self.header.n_tiles - 1] += (self.alpha_bytes or 0) + self.alpha_crc_bytes
        return tuple(accumulate(sizes, initial=self.size))

    def segment_offset(self, layer: int, tile: int) -> int:
        """Byte offset in the file of segment [layer][tile]; both count from 0, out of range is an IndexError."""
        if not (0 <= layer < self.header.n_layers and 0 <= tile < self.header.n_tiles):
            raise IndexError(f"no segment of layer {layer}, tile {tile}")
        return self._offsets[layer * self.header.n_tiles + tile]

    @property
    def contents_bytes(self) -> int:
        """Length of the table of contents, part of `size`."""
        return sum(len(varint_bytes(entry)) for entry in _entries(self.header, self.words, self.partial))

    @property
    def alpha_crc_bytes(self) -> int:
        """Length of the CRC-32 behind the alpha data."""
        return 0 if self.alpha_bytes is None else 4

    @property
    def alpha_offset(self) -> int:
        """Byte offset of the alpha data: right behind the first layer, so that a cut file keeps its shape."""
        return self.segment_offset(0, self.header.n_tiles - 1) + _stored(self.words[0][-1])

    @property
    def chunks_offset(self) -> int:
        return self._offsets[-1]

    @property
    def file_bytes(self) -> int:
        """Exact length of the whole file."""
        return self.chunks_offset + (self.chunks_bytes or 0)


@dataclass(frozen=True)
class File:
    """A file taken apart; with `allow_partial`, what is left of it."""

    head: Head
    segments: tuple[tuple[bytes | None, ...], ...]
    """[layer][tile], without CRC; None is cut off or damaged."""
    alpha: bytes | None
    """Compressed, see `alpha.py`; None if absent, cut off or damaged."""
    chunks: tuple[Chunk, ...]
    complete: bool
    """Nothing is cut off or damaged."""

    @property
    def header(self) -> Header:
        return self.head.header


def overhead_bytes(head: Head) -> int:
    """What the container costs beyond segments, alpha and chunks (each of these two with its CRC): head and CRC-16s."""
    return head.size + 2 * sum(n > 0 for layer in head.words for n in layer)


def write(
    header: Header,
    segments: Sequence[Sequence[bytes]],
    alpha: bytes | None = None,
    chunks: Sequence[Chunk] = (),
    partial: Sequence[bool] = (),
) -> bytes:
    """Put a file together.

    `segments` is [layer][tile], each a multiple of 4 bytes, possibly empty; `partial` says of a cut file which tiles
    end within the last layer (default: none). Anything else is a ValueError; more metadata than the format can hold
    is a LimitError.
    """
    if header.cut and not partial:
        partial = (False,) * header.n_tiles
    if len(partial) != (header.n_tiles if header.cut else 0):
        raise ValueError(f"partial must be given for each of the {header.n_tiles} tiles of a cut file, and only there")
    if len(segments) != header.n_layers or any(len(layer) != header.n_tiles for layer in segments):
        raise ValueError(
            f"segments must be {header.n_layers} layers of {header.n_tiles} tiles, got {[len(s) for s in segments]}"
        )
    for layer, row in enumerate(segments):
        for tile, segment in enumerate(row):
            if len(segment) % 4 or len(segment) > 4 * MAX_WORDS:
                raise ValueError(f"segments[{layer}][{tile}] must be 0..{MAX_WORDS} words of 4 bytes: {len(segment)} B")
    if sum(len(s) for row in segments for s in row) > MAX_SEGMENT_BYTES:
        raise ValueError(f"segments must be at most {MAX_SEGMENT_BYTES} bytes together")
    if alpha is not None and not 1 <= len(alpha) <= MAX_VARINT:
        raise ValueError(f"alpha must be 1..{MAX_VARINT} bytes or None, got {len(alpha)} bytes")
    tail = write_chunks(chunks)
    words = tuple(tuple(len(s) // 4 for s in row) for row in segments)
    parts = [write_head(header, words, None if alpha is None else len(alpha), len(tail) or None, partial)]
    for layer, row in enumerate(segments):
        for segment in row:
            parts += [segment, binascii.crc_hqx(segment, 0xFFFF).to_bytes(2, "little")] if segment else []
        if layer == 0 and alpha is not None:
            parts += [alpha, zlib.crc32(alpha).to_bytes(4, "little")]
    return b"".join([*parts, tail])


def read(data: bytes, allow_partial: bool = False, max_pixels: int | None = 2**28) -> File:
    """Take a file apart.

    With `allow_partial` the head and one first-layer segment suffice: segments that are cut off or damaged are
    None, such alpha and chunks are dropped, bytes behind the end are ignored, and `complete` is False.

    Raises: InputError, FormatError, LimitError as `read_head`; FormatError for any cut or damage, if not allowed.
    """
    head = read_head(data, max_pixels)
    faults: list[FormatError] = []
    if len(data) != head.file_bytes:
        found = (
            f"{len(data)} (cut file; decode --allow-partial)"
            if len(data) < head.file_bytes
            else f"{len(data)} (trailing bytes)"
        )
        faults.append(fault("end of file", min(len(data), head.file_bytes), f"{head.file_bytes} bytes", found))
        if not allow_partial:
            raise faults[0]

    def checked(what: str, start: int, size: int, crc_size: int) -> bytes | None:
        """`size` bytes from `start` if they are there and agree with the CRC that follows them."""
        end = start + size
        if end + crc_size > len(data):
            return None  # counted by the length above
        part, crc = data[start:end], int.from_bytes(data[end : end + crc_size], "little")
        right = zlib.crc32(part) if crc_size == 4 else binascii.crc_hqx(part, 0xFFFF)
        if crc == right:
            return part
        faults.append(fault(f"CRC of {what}", end, f"{right:#x}", f"{crc:#x}"))
        return None

    segments = tuple(
        tuple(
            checked(f"segment of layer {i + 1}, tile {k}", head.segment_offset(i, k), 4 * n, 2) if n else b""
            for k, n in enumerate(row)
        )
        for i, row in enumerate(head.words)
    )
    alpha = None if head.alpha_bytes is None else checked("alpha", head.alpha_offset, head.alpha_bytes, 4)
    chunks = read_chunks(data, head.chunks_offset, head.file_bytes, faults)
    if faults and not allow_partial:
        raise faults[0]
    if all(segment is None for segment in segments[0]):
        raise fault("first layer", head.size, "a complete segment of some tile", "none")
    return File(head, segments, alpha, chunks, not faults)


def write_head(
    header: Header,
    words: Sequence[Sequence[int]],
    alpha_bytes: int | None,
    chunks_bytes: int | None,
    partial: Sequence[bool] = (),
) -> bytes:
    """The head with its CRC-32; `None` means that there is no such part."""
    flags = CUT * header.cut | GREY * header.grey | MAPPED * header.mapped
    flags |= (
        STEPPED * (header.step is not None)
        | ALPHA * (alpha_bytes is not None)
        | CHUNKS * (chunks_bytes is not None)
        | WINDOWS * header.windows
    )
    geometry = (0 if header.windows else header.tile.bit_length() - 5) << 4 | (header.n_layers - 1)
    parts = [MAGIC, bytes([VERSION, flags]), header.token_id, header.entropy_id]
    parts += [varint_bytes(header.width - 1), varint_bytes(header.height - 1), bytes([geometry])]
    parts += [varint_bytes(header.tile), varint_bytes(header.overlap)] if header.windows else []
    parts += [bytes([header.step])] if header.step is not None else []
    parts += [varint_bytes(n) for n in (alpha_bytes, chunks_bytes) if n is not None]
    parts += [varint_bytes(entry) for entry in _entries(header, words, partial)]
    head = b"".join(parts)
    return head + zlib.crc32(head).to_bytes(4, "little")


def _entries(header: Header, words: Sequence[Sequence[int]], partial: Sequence[bool]) -> list[int]:
    """The table of contents as numbers; `_read_contents` undoes it."""
    *rows, last = words
    if header.cut:
        last = [2 * n + p for n, p in zip(last, partial, strict=True)]
    return [n for row in (*rows, last) for n in row]


def read_head(data: bytes, max_pixels: int | None = 2**28) -> Head:
    """Read the head; `data` may be any prefix of a file that holds it.

    Raises:
        InputError: the magic does not match.
        FormatError: the head is cut, damaged, or made by a newer version.
        LimitError: the picture has more than `max_pixels` pixels; None is no limit.
    """
    if not data or not data.startswith(MAGIC[: len(data)]):
        raise InputError(f"not a .vqc file: it begins with {data[:4].hex(' ') or 'nothing'}, not {MAGIC.hex(' ')}")
    r = Reader(data, 0, len(data))
    r.take(4, "magic")
    version, flags = r.take(1, "version")[0], r.take(1, "flags")[0]
    if version != VERSION:
        raise fault("version", 4, str(VERSION), f"{version}: made by a newer version, or damaged")
    if flags & RESERVED:
        raise fault("flags", 5, "reserved bits zero", f"{flags:#04x}: made by a newer version, or damaged")
    token_id, entropy_id = r.take(6, "token identity"), r.take(4, "entropy identity")
    width, height = r.varint("width") + 1, r.varint("height") + 1
    geometry = r.take(1, "tile and layers")[0]
    tile, n_layers = 16 << (geometry >> 4), (geometry & 15) + 1
    overlap = 0
    if flags & WINDOWS:
        if geometry >> 4:
            raise fault("tile and layers", r.pos - 1, "a high nibble of 0 in a file of windows", f"{geometry:#04x}")
        tile, overlap = r.varint("window", MIN_TILE, MAX_TILE), r.varint("overlap", 0, MAX_TILE // 2)
    step = r.take(1, "quantization step")[0] if flags & STEPPED else None
    try:
        grey, cut, mapped = (bool(flags & bit) for bit in (GREY, CUT, MAPPED))
        header = Header(width, height, token_id, entropy_id, tile, n_layers, grey, cut, overlap, mapped, step)
    except ValueError as error:
        raise FormatError(f"header at byte 16: {error}") from error
    if header.windows != bool(flags & WINDOWS):
        raise fault("window", r.pos, "an overlap, or a side that is no power of two", str(tile))
    alpha_bytes = r.varint("alpha length", 1) if flags & ALPHA else None
    chunks_bytes = r.varint("chunks length", 9, MAX_CHUNKS_BYTES) if flags & CHUNKS else None
    entries = header.n_layers * header.n_tiles
    if entries > r.end - r.pos:  # an entry is at least one byte
        raise fault("table of contents", r.pos, f"{entries} entries", f"{r.end - r.pos} bytes (cut or damaged)")
    words, partial = _read_contents(r, header)
    right, crc = zlib.crc32(data[: r.pos]), int.from_bytes(r.take(4, "CRC-32 of the head"), "little")
    if crc != right:
        raise fault("CRC-32 of the head", r.pos - 4, f"{right:#010x}", f"{crc:#010x}")
    if (total := 4 * sum(map(sum, words))) > MAX_SEGMENT_BYTES:
        raise fault("table of contents", r.pos, f"at most {MAX_SEGMENT_BYTES} bytes of segments", str(total))
    if max_pixels is not None and width * height > max_pixels:  # behind the CRC: damage is not a matter of limits
        raise LimitError(f"{width}x{height} is over the limit of {max_pixels} pixels; raise it with --max-pixels")
    return Head(header, words, alpha_bytes, chunks_bytes, r.pos, partial)


def _read_contents(r: Reader, header: Header) -> tuple[tuple[tuple[int, ...], ...], tuple[bool, ...]]:
    """Words [layer][tile], and of a cut file which tiles end within the last layer."""
    tiles, name = range(header.n_tiles), "table of contents"
    whole = header.n_layers - header.cut
    rows = [tuple(r.varint(name, 0, MAX_WORDS) for _ in tiles) for _ in range(whole)]
    if not header.cut:
        return tuple(rows), ()
    last = [r.varint(name, 0, 2 * MAX_WORDS + 1) for _ in tiles]
    return (*rows, tuple(n >> 1 for n in last)), tuple(bool(n & 1) for n in last)


def tiles_along(length: int, tile: int, overlap: int = 0) -> int:
    """How many tiles of `tile` px, each `overlap` into the next, it takes to cover `length` px."""
    return max(1, -(-(length - overlap) // (tile - overlap)))


def _stored(words: int) -> int:
    """Bytes that a segment takes in the file: an empty one has no CRC."""
    return 4 * words + 2 if words else 0
