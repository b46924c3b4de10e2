"""Ranges of bytes of large files: memory-mapped local files, and files behind URLs."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Protocol

from .. import remote
from ..errors import FormatError, InputError


class ByteSource(Protocol):
    """A file that is read in parts, from several processes."""

    name: str

    def size(self) -> int:
        """Bytes of the file. Raises InputError."""

    def read(self, start: int, size: int) -> memoryview:
        """`size` bytes from `start` on. Raises InputError, and FormatError where the file ends before."""


class LocalFile:
    """A local file, mapped into memory at the first read of each process."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._view: memoryview | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "_view": None}

    def _mapped(self) -> memoryview:
        if self._view is None:
            try:
                with open(self.name, "rb") as file:
                    self._view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except ValueError as error:
                raise InputError(f"{self.name}: empty") from error
            except OSError as error:
                raise InputError(f"{self.name}: cannot be read: {error.strerror or error}") from error
        return self._view

    def size(self) -> int:
        """Bytes of the file."""
        return len(self._mapped())

    def read(self, start: int, size: int) -> memoryview:
        """`size` bytes from `start` on, without a copy."""
        part = self._mapped()[start : start + size]
        return _complete(part, self.name, start, size)


class RemoteFile:
    """A file behind a URL: each read is a request."""

    def __init__(self, url: str) -> None:
        self.name = url

    def size(self) -> int:
        """Bytes of the file."""
        with remote.naming(self.name, InputError):
            fs, path = remote.open_url(self.name)
            return int(fs.size(path))

    def read(self, start: int, size: int) -> memoryview:
        """`size` bytes from `start` on."""
        part = remote.read_bytes(self.name, start, start + size) if size else b""
        return _complete(memoryview(part), self.name, start, size)


def _complete(part: memoryview, name: str, start: int, size: int) -> memoryview:
    if len(part) != size:
        raise FormatError(f"{name}: ends within the {size} bytes from offset {start} on; was it cut?")
    return part


def byte_source(name: str) -> LocalFile | RemoteFile:
    """The file called `name`, a path or a URL."""
    return RemoteFile(name) if remote.is_url(name) else LocalFile(Path(name))
