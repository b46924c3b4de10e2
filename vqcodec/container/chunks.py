"""Metadata behind the segments, in PNG-style chunks: length, type, data, CRC-32.

Differs from container.py: knows nothing of segments.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FormatError, LimitError
from .bytes_reader import Reader, fault, varint_bytes

MAX_CHUNK_BYTES = 16 * 2**20
MAX_CHUNKS_BYTES = 64 * 2**20
MAX_CHUNKS = 256
KNOWN_CHUNKS = frozenset({"iCCP", "eXIf", "xMPd"})


@dataclass(frozen=True)
class Chunk:
    """Metadata. `kind` is four ASCII letters, the first in lower case if a reader may ignore the chunk."""

    kind: str
    data: bytes


def write_chunks(chunks: Sequence[Chunk]) -> bytes:
    """Chunks as stored. Raises ValueError for a bad type and LimitError for more than the format holds."""
    parts = []
    kinds = [chunk.kind for chunk in chunks]
    for chunk in chunks:
        if problem := _chunk_problem(chunk.kind, kinds):
            raise ValueError(f"chunks: {problem}")
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise LimitError(f"chunk {chunk.kind} is {len(chunk.data)} bytes, over {MAX_CHUNK_BYTES}; leave it out")
        body = chunk.kind.encode() + chunk.data
        parts += [varint_bytes(len(chunk.data)), body, zlib.crc32(body).to_bytes(4, "little")]
    if len(chunks) > MAX_CHUNKS or sum(map(len, parts)) > MAX_CHUNKS_BYTES:
        raise LimitError(f"chunks are over {MAX_CHUNKS} or {MAX_CHUNKS_BYTES} bytes together; leave some out")
    return b"".join(parts)


def read_chunks(data: bytes, start: int, stop: int, faults: list[FormatError]) -> tuple[Chunk, ...]:
    """The chunks in data[start:stop] that are whole; the others are added to `faults`.

    A critical chunk that is not known raises FormatError.
    """
    r = Reader(data, start, stop)
    chunks: list[Chunk] = []
    try:
        for _ in range(MAX_CHUNKS):
            if r.pos == stop:
                break
            body = r.take(r.varint("chunk length", 0, MAX_CHUNK_BYTES) + 4, "chunk")
            right, crc = zlib.crc32(body), int.from_bytes(r.take(4, "CRC-32 of chunk"), "little")
            if crc == right:
                chunks.append(Chunk(body[:4].decode("latin-1"), body[4:]))
            else:
                faults.append(fault("CRC-32 of chunk", r.pos - 4, f"{right:#010x}", f"{crc:#010x}"))
        else:
            if r.pos != stop:
                raise fault("chunks", r.pos, f"at most {MAX_CHUNKS}", "more")
    except FormatError as error:  # behind a length that cannot be there is nothing to be found
        faults.append(error)
    kinds = [chunk.kind for chunk in chunks]
    for chunk in chunks:
        if problem := _chunk_problem(chunk.kind, kinds):
            raise FormatError(f"chunks at byte {start}: {problem}")
    return tuple(chunks)


def _chunk_problem(kind: str, kinds: Sequence[str]) -> str | None:
    if len(kind) != 4 or not kind.isascii() or not kind.isalpha():
        return f"a type must be 4 ASCII letters, got {kind!r}"
    if kind in KNOWN_CHUNKS:
        return f"{kind} must occur once" if kinds.count(kind) > 1 else None
    return f"critical type {kind} is not known: made by a newer version" if kind[0].isupper() else None
