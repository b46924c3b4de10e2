"""A field of the head: its name, its form in bytes, and the attribute that it stores."""

from __future__ import annotations

from dataclasses import dataclass

from .bytes_reader import Reader, varint_bytes


@dataclass(frozen=True)
class Raw:
    """Form of a field: `size` bytes as they are."""

    size: int

    def write(self, value: bytes) -> bytes:
        return value

    def read(self, r: Reader, name: str) -> bytes:
        return r.take(self.size, name)


@dataclass(frozen=True)
class Byte:
    """Form of a field: a number low..high in one byte."""

    low: int
    high: int

    def write(self, value: int) -> bytes:
        return bytes([value])

    def read(self, r: Reader, name: str) -> int:
        return r.byte(name, self.low, self.high)


@dataclass(frozen=True)
class Varint:
    """Form of a field: a number low..high as a varint."""

    low: int
    high: int

    def write(self, value: int) -> bytes:
        return varint_bytes(value)

    def read(self, r: Reader, name: str) -> int:
        return r.varint(name, self.low, self.high)


@dataclass(frozen=True)
class Field:
    """One field of the head."""

    attribute: str
    """Attribute of `Header` or `Head` that the field stores."""
    name: str
    """Name in FORMAT.md and in error messages."""
    form: Raw | Byte | Varint
    flag: int = 0
    """Bit of the flags byte that says that the field is present; 0: always present."""
    bias: int = 0
    """Attribute minus stored number."""
