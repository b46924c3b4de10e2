"""Numbers in bytes: varints, a reader that never trusts a length, and how a fault is told."""

from __future__ import annotations

from ..errors import FormatError

MAX_VARINT = 2**32 - 1


def fault(field: str, offset: int, expected: str, found: str) -> FormatError:
    return FormatError(f"{field} at byte {offset}: expected {expected}, found {found}")


def varint_bytes(value: int) -> bytes:
    """LEB128: 7 bits a byte, low ones first, the high bit set on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class Reader:
    """Takes `data` apart from `pos` to `end`; what is not there is a FormatError."""

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data, self.pos, self.end = data, pos, min(end, len(data))

    def take(self, size: int, field: str) -> bytes:
        if self.pos + size > self.end:
            raise fault(field, self.pos, f"{size} bytes", f"{max(0, self.end - self.pos)} (cut or damaged)")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def varint(self, field: str, low: int = 0, high: int = MAX_VARINT) -> int:
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
