"""Mutation of .vqc files: parts of a valid file are changed, and all checksums written anew.

A `Draft` holds the parts as loose values without any rule, so that it can be written with fields that contradict each
other. `repaired` sets the checksums of bytes that a fuzzer has changed without knowing the format.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import zstandard

from vqcodec import container
from vqcodec.container.bytes_reader import Reader, varint_bytes
from vqcodec.container.header import ALPHA, CHUNKS, STEPPED, WINDOWS, tiles_along
from vqcodec.errors import VqcError

from .byte_edits import edited, number

KINDS = ("iCCP", "eXIf", "xMPd", "zzZz", "ABcd", "i\x1b[m", "\0\0\0\0")
"""Types of chunks: known, unknown, critical and invalid."""


@dataclass
class Draft:
    """Parts of a file, not checked."""

    version: int
    flags: int
    identities: bytes
    width: int
    height: int
    tile_and_layers: int
    window: int
    overlap: int
    step: int
    segments: list[list[bytes]]
    """[layer][tile]."""
    entries: list[list[int | None]]
    """[layer][tile] entries of the table of contents; None: that of the segment."""
    partial: list[bool]
    alpha: bytes
    alpha_claim: int | None
    """Stated length of alpha; None: the right one."""
    chunks: list[tuple[str, bytes, int | None]]
    """Type, data, and stated length or None for the right one."""
    chunks_claim: int | None

    def write(self) -> bytes:
        """The file, with correct checksums over all parts."""
        chunks = b"".join(_chunk(*chunk) for chunk in self.chunks)
        head = [container.MAGIC, bytes([self.version & 255, self.flags & 255]), self.identities]
        head += [varint_bytes(self.width), varint_bytes(self.height), bytes([self.tile_and_layers & 255])]
        if self.flags & WINDOWS:
            head += [varint_bytes(self.window), varint_bytes(self.overlap)]
        if self.flags & STEPPED:
            head.append(bytes([self.step & 255]))
        if self.flags & ALPHA:
            head.append(varint_bytes(len(self.alpha) if self.alpha_claim is None else self.alpha_claim))
        if self.flags & CHUNKS:
            head.append(varint_bytes(len(chunks) if self.chunks_claim is None else self.chunks_claim))
        for layer, row in enumerate(self.entries):
            for tile, entry in enumerate(row):
                n = len(self.segments[layer][tile]) // 4
                if self.flags & 1 and layer == len(self.entries) - 1:
                    n = 2 * n + (tile < len(self.partial) and self.partial[tile])
                head.append(varint_bytes(n if entry is None else entry))
        parts = [b"".join(head)]
        parts.append(zlib.crc32(parts[0]).to_bytes(4, "little"))
        for layer, row in enumerate(self.segments):
            parts += [s + binascii.crc_hqx(s, 0xFFFF).to_bytes(2, "little") if s else b"" for s in row]
            if not layer and self.flags & ALPHA:
                parts += [self.alpha, zlib.crc32(self.alpha).to_bytes(4, "little")]
        return b"".join([*parts, chunks if self.flags & CHUNKS else b""])


def draft_of(data: bytes) -> Draft:
    """The parts of a file. Raises FormatError or InputError where its head cannot be read."""
    draft = _draft(data)
    return replace(
        draft,
        segments=list(map(list, draft.segments)),
        entries=list(map(list, draft.entries)),
        partial=list(draft.partial),
        chunks=list(draft.chunks),
    )


@lru_cache(maxsize=64)
def _draft(data: bytes) -> Draft:
    file = container.read(data, allow_partial=True, max_pixels=None)
    header, head = file.header, file.head
    return Draft(
        container.VERSION,
        head.flags,
        header.token_id + header.entropy_id,
        header.width - 1,
        header.height - 1,
        header.tile_and_layers,
        header.tile,
        header.overlap,
        header.step or 0,
        [[segment or b"" for segment in row] for row in file.segments],
        [[None] * len(row) for row in file.segments],
        list(head.partial),
        file.alpha or b"\xff",
        None,
        [(chunk.kind, chunk.data, None) for chunk in file.chunks],
        None,
    )


def _chunk(kind: str, data: bytes, claim: int | None) -> bytes:
    body = kind.encode("latin-1") + data
    length = varint_bytes(len(data) if claim is None else claim)
    return length + body + zlib.crc32(body).to_bytes(4, "little")


def _flags(draft: Draft, random: Random) -> None:
    draft.flags ^= 1 << random.randrange(8)


def _version(draft: Draft, random: Random) -> None:
    draft.version = random.choice((0, 2, 255))


def _size(draft: Draft, random: Random) -> None:
    name = random.choice(("width", "height"))
    setattr(draft, name, min(2**32 - 1, number(random, getattr(draft, name))))


def _tile(draft: Draft, random: Random) -> None:
    draft.tile_and_layers = random.choice((random.randrange(256), draft.tile_and_layers ^ 16 << random.randrange(4)))


def _layers(draft: Draft, random: Random) -> None:
    """Another number of layers, with as many segments."""
    n = random.randint(1, 16)
    draft.tile_and_layers = draft.tile_and_layers & 0xF0 | n - 1
    tiles = len(draft.segments[0])
    while len(draft.segments) < n:
        draft.segments.append([random.choice((b"", b"\0" * 4, random.choice(draft.segments)[0])) for _ in range(tiles)])
        draft.entries.append([None] * tiles)
    del draft.segments[n:], draft.entries[n:]


def _tiles(draft: Draft, random: Random) -> None:
    """Another tile side, with as many segments as it needs."""
    side = 1 << random.randint(4, 15)
    n = tiles_along(draft.width + 1, side) * tiles_along(draft.height + 1, side)
    if n > 400:
        return
    draft.tile_and_layers = (side.bit_length() - 5) << 4 | draft.tile_and_layers & 15
    draft.segments = [[random.choice(row) for _ in range(n)] for row in draft.segments]
    draft.entries = [[None] * n for _ in draft.segments]
    draft.partial = [random.random() < 0.5 for _ in range(n)]


def _window(draft: Draft, random: Random) -> None:
    draft.flags |= WINDOWS
    draft.window, draft.overlap = number(random, draft.window), number(random, draft.overlap)


def _step(draft: Draft, random: Random) -> None:
    draft.step = random.choice((random.randrange(64), random.randrange(256)))


def _identity(draft: Draft, random: Random) -> None:
    draft.identities = edited(draft.identities, random)[:10].ljust(10, b"\0")


def _some(draft: Draft, random: Random) -> tuple[int, int]:
    layer = random.randrange(len(draft.segments))
    return layer, random.randrange(len(draft.segments[layer]))


def _segment(draft: Draft, random: Random) -> None:
    layer, tile = _some(draft, random)
    changed = edited(draft.segments[layer][tile], random)
    draft.segments[layer][tile] = changed[: len(changed) // 4 * 4]


def _segment_of_another(draft: Draft, random: Random) -> None:
    (a, i), (b, j) = _some(draft, random), _some(draft, random)
    draft.segments[a][i], draft.segments[b][j] = draft.segments[b][j], draft.segments[a][i]


def _segment_of_any_words(draft: Draft, random: Random) -> None:
    layer, tile = _some(draft, random)
    n = 4 * random.choice((0, 1, 2, 3, 5, 20, 300))
    draft.segments[layer][tile] = random.choice((random.randbytes(n), b"\0" * n, b"\xff" * n))


def _entry(draft: Draft, random: Random) -> None:
    layer, tile = _some(draft, random)
    draft.entries[layer][tile] = min(2**32 - 1, number(random, len(draft.segments[layer][tile]) // 4))


def _partial(draft: Draft, random: Random) -> None:
    """A cut file: the last layer ends at any word."""
    draft.flags |= 1
    draft.partial = [True] * len(draft.segments[-1])
    row = draft.segments[-1]
    for tile, segment in enumerate(row):
        row[tile] = segment[: 4 * random.randint(0, len(segment) // 4)]


def _alpha(draft: Draft, random: Random) -> None:
    draft.flags |= ALPHA
    draft.alpha = edited(draft.alpha, random) or b"\0"


def _alpha_frame(draft: Draft, random: Random) -> None:
    """A valid zstandard frame of the right or another size, with any filters."""
    draft.flags |= ALPHA
    size = (draft.height + 1) * (draft.width + 2) + random.choice((0, 0, 0, 1, -1))
    size = min(size, 2**18) if random.random() < 0.9 else min(size, 2**26)
    plain = bytes(max(size, 0)) if random.random() < 0.5 else random.randbytes(min(max(size, 0), 2**16))
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=random.random() < 0.9)
    draft.alpha = compressor.compress(plain)


def _alpha_claim(draft: Draft, random: Random) -> None:
    draft.flags |= ALPHA
    draft.alpha_claim = min(2**32 - 1, number(random, len(draft.alpha)))


def _chunks(draft: Draft, random: Random) -> None:
    draft.flags |= CHUNKS
    made = random.choice((1, 1, 1, 2, 300))
    draft.chunks += [(random.choice(KINDS), random.randbytes(random.choice((0, 1, 9, 100))), None)] * made


def _chunk_data(draft: Draft, random: Random) -> None:
    if draft.chunks:
        i = random.randrange(len(draft.chunks))
        kind, data, claim = draft.chunks[i]
        draft.chunks[i] = (kind, edited(data, random), claim)


def _chunk_claim(draft: Draft, random: Random) -> None:
    if draft.chunks:
        i = random.randrange(len(draft.chunks))
        kind, data, _ = draft.chunks[i]
        draft.chunks[i] = (kind, data, min(2**32 - 1, number(random, len(data))))


def _chunks_claim(draft: Draft, random: Random) -> None:
    draft.flags |= CHUNKS
    draft.chunks_claim = min(2**32 - 1, number(random, 20))


CHANGES: Sequence[Callable[[Draft, Random], None]] = (
    *(_flags, _version, _size, _size, _tile, _layers, _tiles, _window, _step, _identity),
    *(_segment, _segment, _segment, _segment_of_another, _segment_of_any_words, _entry, _partial),
    *(_alpha, _alpha_frame, _alpha_claim, _chunks, _chunk_data, _chunk_claim, _chunks_claim),
)


def mutated(data: bytes, random: Random) -> bytes:
    """A file made of the valid file `data` by 1 to 4 changes; in 1 of 8 files one more edit breaks a checksum."""
    draft = draft_of(data)
    for _ in range(random.randint(1, 4)):
        random.choice(CHANGES)(draft, random)
    result = draft.write()
    return edited(result, random) if random.random() < 0.125 else result


def repaired(data: bytes) -> bytes:
    """`data` with the checksums that its own lengths call for, as far as they can be followed."""
    found = bytearray(data)
    try:
        end = _head_end(data)
        found[end : end + 4] = zlib.crc32(data[:end]).to_bytes(4, "little")
        head = container.read_head(bytes(found), max_pixels=None)
    except VqcError:
        return bytes(found)
    for layer, row in enumerate(head.words):
        for tile, n in enumerate(row):
            start = head.segment_offset(layer, tile)
            if n and start + 4 * n + 2 <= len(found):
                crc = binascii.crc_hqx(found[start : start + 4 * n], 0xFFFF)
                found[start + 4 * n : start + 4 * n + 2] = crc.to_bytes(2, "little")
    if head.alpha_bytes is not None and (end := head.alpha_offset + head.alpha_bytes) + 4 <= len(found):
        found[end : end + 4] = zlib.crc32(found[head.alpha_offset : end]).to_bytes(4, "little")
    r = Reader(bytes(found), head.chunks_offset, head.file_bytes)
    try:
        while r.pos < r.end:
            body = r.take(r.varint("length") + 4, "chunk")
            found[r.pos : r.pos + 4] = zlib.crc32(body).to_bytes(4, "little")
            r.take(4, "CRC")
    except VqcError:
        pass
    return bytes(found)


def _head_end(data: bytes) -> int:
    """Offset of the CRC-32 of the head. Raises FormatError."""
    r = Reader(data, 5, len(data))
    flags = r.byte("flags")
    r.take(10, "identities")
    width, height = r.varint("width") + 1, r.varint("height") + 1
    packed = r.byte("tile and layers")
    tile, overlap = 16 << (packed >> 4), 0
    if flags & WINDOWS:
        tile, overlap = r.varint("window"), r.varint("overlap")
    if flags & STEPPED:
        r.byte("step")
    for bit in (ALPHA, CHUNKS):
        if flags & bit:
            r.varint("length")
    if tile > overlap:
        entries = ((packed & 15) + 1) * tiles_along(width, tile, overlap) * tiles_along(height, tile, overlap)
        for _ in range(min(entries, len(data))):
            r.varint("entry")
    return r.pos
