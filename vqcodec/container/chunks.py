"""Chunks: metadata after the last segment, each as length, type, data and CRC-32, similar to PNG."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FormatError, LimitError
from .bytes_reader import Reader, fault, varint_bytes

MAX_CHUNK_BYTES = 16 * 2**20
"""Data of one chunk."""
MAX_CHUNKS_BYTES = 64 * 2**20
"""All chunks as stored."""
MAX_CHUNKS = 256
KNOWN_CHUNKS = frozenset({"iCCP", "eXIf", "xMPd"})


@dataclass(frozen=True)
class Chunk:
    """One chunk of metadata."""

    kind: str
    """Four ASCII letters; the first is lower case if a reader that does not know the type may ignore the chunk."""
    data: bytes
    """0..MAX_CHUNK_BYTES bytes."""


def write_chunks(chunks: Sequence[Chunk]) -> bytes:
    """Chunks as stored. Raises ValueError for an invalid type, LimitError beyond the limits of the format."""
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
    """The undamaged chunks in data[start:stop]; appends an error to `faults` for each of the others.

    Raises FormatError for an unknown critical chunk and for an invalid or repeated type.
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
    except FormatError as error:  # after an invalid length the start of the next chunk is unknown
        faults.append(error)
    kinds = [chunk.kind for chunk in chunks]
    for chunk in chunks:
        if problem := _chunk_problem(chunk.kind, kinds):
            raise FormatError(f"chunks at byte {start}: {problem}")
    return tuple(chunks)


def _chunk_problem(kind: str, kinds: Sequence[str]) -> str | None:
    """Reason why a chunk of type `kind` is not valid among chunks of types `kinds`; None if it is."""
    if len(kind) != 4 or not kind.isascii() or not kind.isalpha():
        return f"a type must be 4 ASCII letters, got {kind!r}"
    if kind in KNOWN_CHUNKS:
        return f"{kind} must occur once" if kinds.count(kind) > 1 else None
    return f"critical type {kind} is not known: made by a newer version" if kind[0].isupper() else None
