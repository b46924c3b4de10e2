"""The .vqc container: head, segments, alpha and chunks to bytes and back; FORMAT.md specifies the layout.

Segments and alpha are opaque here: `entropy/` codes the words of a segment, `alpha.py` the alpha plane.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FormatError
from .bytes_reader import MAX_VARINT, fault
from .chunks import Chunk, read_chunks, write_chunks
from .header import MAX_PIXELS, MAX_SEGMENT_BYTES, MAX_WORDS, Head, Header, read_head, write_head


@dataclass(frozen=True)
class File:
    """The parts of a file; of an incomplete one, those that are present and undamaged."""

    head: Head
    segments: tuple[tuple[bytes | None, ...], ...]
    """[layer][tile], without CRC-16; None: missing or damaged."""
    alpha: bytes | None
    """Compressed alpha plane (alpha.py), without CRC-32; None: absent, missing or damaged."""
    chunks: tuple[Chunk, ...]
    complete: bool
    """True if nothing is missing or damaged and no bytes follow the end."""

    @property
    def header(self) -> Header:
        """Header of the head."""
        return self.head.header


def write(
    header: Header,
    segments: Sequence[Sequence[bytes]],
    alpha: bytes | None = None,
    chunks: Sequence[Chunk] = (),
    partial: Sequence[bool] = (),
) -> bytes:
    """Bytes of a file.

    Args:
        header: fields of the head, the same as `read` returns.
        segments: [layer][tile], each 0..MAX_WORDS words of 4 bytes.
        alpha: compressed alpha plane, at least 1 byte; None: the picture has no alpha.
        chunks: metadata, in the order of the file.
        partial: for a cut file only: for each tile, True if its segment of the last layer ends within that layer
            (default: all False).

    Raises:
        ValueError: an argument is out of range or does not fit `header`.
        LimitError: the chunks are over the limits of the format.
    """
    if header.cut and not partial:
        partial = (False,) * header.n_tiles
    _check(header, segments, alpha, partial)
    tail = write_chunks(chunks)
    words = tuple(tuple(len(segment) // 4 for segment in row) for row in segments)
    head = Head(header, words, None if alpha is None else len(alpha), len(tail) or None, tuple(partial))
    parts = [write_head(head)]
    for layer, row in enumerate(segments):
        for segment in row:
            parts += [segment, binascii.crc_hqx(segment, 0xFFFF).to_bytes(2, "little")] if segment else []
        if layer == 0 and alpha is not None:
            parts += [alpha, zlib.crc32(alpha).to_bytes(4, "little")]
    return b"".join([*parts, tail])


def read(data: bytes, allow_partial: bool = False, max_pixels: int | None = MAX_PIXELS) -> File:
    """Parts of a file; the inverse of `write`.

    Args:
        data: bytes of the file, from its first one.
        allow_partial: accept a cut or damaged file if its head and one segment of layer 1 are undamaged. Missing and
            damaged segments and alpha are then None, such chunks are left out, bytes after the end are ignored, and
            `complete` is False.
        max_pixels: largest width times height; None: no limit.

    Raises:
        InputError, FormatError, LimitError: as `read_head`.
        FormatError: the file is cut, damaged or too long, and `allow_partial` is False or does not help.
    """
    head = read_head(data, max_pixels)
    faults: list[FormatError] = []
    if len(data) != head.file_bytes:
        hint = "cut file; decode --allow-partial" if len(data) < head.file_bytes else "trailing bytes"
        end = min(len(data), head.file_bytes)
        faults.append(fault("end of file", end, f"{head.file_bytes} bytes", f"{len(data)} ({hint})"))
        if not allow_partial:
            raise faults[0]

    def checked(name: str, start: int, size: int, crc_size: int) -> bytes | None:
        """`size` bytes from `start`, or None if they are missing or disagree with the CRC that follows them."""
        end = start + size
        if end + crc_size > len(data):
            return None  # `faults` holds the end of the file already
        part, crc = data[start:end], int.from_bytes(data[end : end + crc_size], "little")
        right = zlib.crc32(part) if crc_size == 4 else binascii.crc_hqx(part, 0xFFFF)
        if crc == right:
            return part
        faults.append(fault(f"CRC of {name}", end, f"{right:#x}", f"{crc:#x}"))
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


def _check(header: Header, segments: Sequence[Sequence[bytes]], alpha: bytes | None, partial: Sequence[bool]) -> None:
    """Raise ValueError for parts that do not fit `header` or the limits of the format."""
    if len(partial) != (header.n_tiles if header.cut else 0):
        raise ValueError(f"partial must be given for each of the {header.n_tiles} tiles of a cut file, and only there")
    if len(segments) != header.n_layers or any(len(row) != header.n_tiles for row in segments):
        raise ValueError(
            f"segments must be {header.n_layers} layers of {header.n_tiles} tiles, got {[len(row) for row in segments]}"
        )
    for layer, row in enumerate(segments):
        for tile, segment in enumerate(row):
            if len(segment) % 4 or len(segment) > 4 * MAX_WORDS:
                raise ValueError(f"segments[{layer}][{tile}] must be 0..{MAX_WORDS} words of 4 bytes: {len(segment)} B")
    if sum(len(segment) for row in segments for segment in row) > MAX_SEGMENT_BYTES:
        raise ValueError(f"segments must be at most {MAX_SEGMENT_BYTES} bytes together")
    if alpha is not None and not 1 <= len(alpha) <= MAX_VARINT:
        raise ValueError(f"alpha must be 1..{MAX_VARINT} bytes or None, got {len(alpha)} bytes")
