"""Exif blocks as bytes: removal of the thumbnail, addition of a density, without moving data that maker notes point to.

A block is a TIFF structure; offsets count from its start, after the prefix.
"""

from __future__ import annotations

import struct
from fractions import Fraction

PREFIX = b"Exif\0\0"
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value, by the type of its entry."""
DIRECTORIES = (0x8769, 0x8825, 0xA005)
"""Tags that point to a directory: Exif, GPS, interoperability."""
THUMBNAIL, THUMBNAIL_BYTES = 0x0201, 0x0202
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
PAD = 4
"""Largest gap between two parts, bytes, that is taken as padding."""

Entry = tuple[int, int, int, bytes]
"""Tag, type, count, and the four bytes of the value or its offset."""


def order_of(data: bytes) -> str:
    """Byte order, for `struct`. Raises ValueError for data without a TIFF header."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("Exif does not start with a TIFF header")
    return order


def without_thumbnail(data: bytes) -> bytes:
    """A block without prefix and without its second directory, which describes the thumbnail.

    The thumbnail's bytes are removed if they are at the end of the block. Raises ValueError or struct.error if the
    first directory is damaged.
    """
    order = order_of(data)
    (first,) = struct.unpack_from(order + "I", data, 4)
    entries = _entries(data, order, first)
    link = first + 2 + 12 * len(entries)
    if link + 4 > len(data):
        return data
    (second,) = struct.unpack_from(order + "I", data, link)
    if not second:
        return data
    out = bytearray(data)
    struct.pack_into(order + "I", out, link, 0)
    try:
        parts = _parts(data, order, second)
        floor = max(stop for _, stop in [(0, 8), (0, link + 4), *_parts(data, order, first)])
    except (ValueError, struct.error):
        return bytes(out)
    end = len(out)
    for start, stop in sorted(parts, key=lambda part: -part[1]):
        if stop < end - PAD:
            break
        end = min(end, start)
    return bytes(out[:end]) if floor <= end else bytes(out)


def with_resolution(exif: bytes | None, x: float, y: float) -> bytes | None:
    """A block with prefix that states x and y dots per inch; unchanged if it states a density already.

    The first directory is rewritten at the end of the block, so that other data stay in place. Raises ValueError or
    struct.error if it is damaged.
    """
    data = b"II*\0\x08\0\0\0" if exif is None else exif.removeprefix(PREFIX)
    order = order_of(data)
    (first,) = struct.unpack_from(order + "I", data, 4)
    entries = [] if exif is None else _entries(data, order, first)
    if any(entry[0] in (X_RESOLUTION, Y_RESOLUTION) for entry in entries):
        return exif
    data += bytes(-len(data) % 2)
    entries = [entry for entry in entries if entry[0] != RESOLUTION_UNIT]
    values = b"".join(struct.pack(order + "II", *_rational(value)) for value in (x, y))
    start = len(data)
    values_start = start + 2 + 12 * (len(entries) + 3) + 4
    for place, tag in enumerate((X_RESOLUTION, Y_RESOLUTION)):
        entries.append((tag, 5, 1, struct.pack(order + "I", values_start + 8 * place)))
    entries.append((RESOLUTION_UNIT, 3, 1, struct.pack(order + "HH", 2, 0)))
    written = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in sorted(entries))
    directory = struct.pack(order + "H", len(entries)) + written + bytes(4)
    return PREFIX + data[:4] + struct.pack(order + "I", start) + data[8:] + directory + values


def _rational(value: float) -> tuple[int, int]:
    whole = round(value)
    found = Fraction(whole) if abs(value - whole) < 0.02 else Fraction(value).limit_denominator(1000)
    return found.numerator, found.denominator


def _entries(data: bytes, order: str, directory: int) -> list[Entry]:
    (count,) = struct.unpack_from(order + "H", data, directory)
    places = range(directory + 2, directory + 2 + 12 * count, 12)
    if places and places[-1] + 12 > len(data):
        raise ValueError("a directory reaches beyond its block")
    return [(*struct.unpack_from(order + "HHI", data, at), data[at + 8 : at + 12]) for at in places]


def _parts(data: bytes, order: str, directory: int, depth: int = 0) -> list[tuple[int, int]]:
    """(start, end) of a directory, of the values that its entries point to, and of its subdirectories."""
    entries = _entries(data, order, directory)
    parts = [(directory, directory + 2 + 12 * len(entries) + 4)]
    found: dict[int, int] = {}
    for tag, kind, count, value in entries:
        size = SIZES.get(kind, 1) * count
        (place,) = struct.unpack(order + "I", value)
        if size > 4:
            parts.append((place, place + size))
        found[tag] = place if kind != 3 else struct.unpack(order + "H", value[:2])[0]
        if tag in DIRECTORIES and depth < 3:
            parts += _parts(data, order, place, depth + 1)
    if THUMBNAIL in found and THUMBNAIL_BYTES in found:
        parts.append((found[THUMBNAIL], found[THUMBNAIL] + found[THUMBNAIL_BYTES]))
    return parts
