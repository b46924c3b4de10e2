"""A field of the head: its name, its form in bytes, and the attribute that it stores."""

from __future__ import annotations

from dataclasses import dataclass

from .bytes_reader import Reader, varint_bytes


@dataclass(frozen=True)
class Raw:
    """Form of a field: `size` bytes as they are."""

    size: int

    def write(self, value: bytes) -> bytes:
        """Bytes of `value`, which has `size` bytes."""
        return value

    def read(self, r: Reader, name: str) -> bytes:
        """`size` bytes from `r`. Raises FormatError that calls the field `name`."""
        return r.take(self.size, name)


@dataclass(frozen=True)
class Byte:
    """Form of a field: a number low..high in one byte."""

    low: int
    high: int

    def write(self, value: int) -> bytes:
        """One byte of `value`, low..high."""
        return bytes([value])

    def read(self, r: Reader, name: str) -> int:
        """Number low..high from `r`. Raises FormatError that calls the field `name`."""
        return r.byte(name, self.low, self.high)


@dataclass(frozen=True)
class Varint:
    """Form of a field: a number low..high as a varint."""

    low: int
    high: int

    def write(self, value: int) -> bytes:
        """Bytes of `value`, low..high."""
        return varint_bytes(value)

    def read(self, r: Reader, name: str) -> int:
        """Number low..high from `r`. Raises FormatError that calls the field `name`."""
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
    """Bit of the flags byte that marks the field as present; 0: always present."""
    bias: int = 0
    """Attribute minus stored number."""
