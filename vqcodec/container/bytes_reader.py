"""Varints, and a reader of bytes that checks every length against the data present."""

from __future__ import annotations

from ..errors import FormatError

MAX_VARINT = 2**32 - 1


def fault(field: str, offset: int, expected: str, found: str) -> FormatError:
    """The error for `field` at byte `offset` of a file."""
    return FormatError(f"{field} at byte {offset}: expected {expected}, found {found}")


def varint_bytes(value: int) -> bytes:
    """LEB128 of a number 0..MAX_VARINT: seven bits a byte, low ones first, the high bit set on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class Reader:
    """Reads `data` from byte `pos` to `end`; every method raises FormatError, naming `field`, past the end."""

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data, self.pos, self.end = data, pos, min(end, len(data))

    def take(self, size: int, field: str) -> bytes:
        """The next `size` bytes."""
        if self.pos + size > self.end:
            raise fault(field, self.pos, f"{size} bytes", f"{max(0, self.end - self.pos)} (cut or damaged)")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def byte(self, field: str, low: int = 0x00, high: int = 0xFF) -> int:
        """A number low..high in one byte."""
        value = self.take(1, field)[0]
        if not low <= value <= high:
            raise fault(field, self.pos - 1, f"{low}..{high}", str(value))
        return value

    def varint(self, field: str, low: int = 0, high: int = MAX_VARINT) -> int:
        """A number low..high as a varint in its shortest form; the inverse of `varint_bytes`."""
        start, value, byte = self.pos, 0, 0x80
        while byte & 0x80:
            shift = 7 * (self.pos - start)
            byte = self.take(1, field)[0]
            value |= (byte & 0x7F) << shift
            if byte > 0x0F if shift == 28 else shift and not byte:
                raise fault(field, start, "a canonical 32-bit varint", self.data[start : self.pos].hex(" "))
        if not low <= value <= high:
            raise fault(field, start, f"{low}..{high}", str(value))
        return value
