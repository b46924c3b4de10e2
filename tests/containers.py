"""A worked example of the container, its checksums by their definition, and heads written by hand."""

from __future__ import annotations

import zlib

from vqcodec.container import MAGIC, File, Header

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
    """Head with magic and correct CRC from its other bytes in hexadecimal, version first."""
    data = MAGIC + bytes.fromhex(fields)
    return data + zlib.crc32(data).to_bytes(4, "little")


IDS = "010203040506 0a0b0c0d"


def check_partial(part: File, whole: File) -> None:
    """The parts of `part` equal those of `whole`, or are missing."""
    assert part.head == whole.head
    for ours, right in zip(part.segments, whole.segments, strict=True):
        assert all(a is None or a == b for a, b in zip(ours, right, strict=True))
    assert any(s is not None for s in part.segments[0])
    assert part.alpha in (None, whole.alpha)
    assert set(part.chunks) <= set(whole.chunks)
