"""Names and sizes of the pictures in a folder or shard, read from their headers once and kept in an index.

    FOLDER/.vqcodec-index.json          a picture is read again if its size or time of change differs
    SHARD.tar.vqcodec-index.json        a whole shard is read again if its size or time of change differs

An index saves time only: if it is missing, damaged or cannot be written, all headers are read.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Collection
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from PIL import Image, UnidentifiedImageError
from typing_extensions import override

from vqcodec.errors import InputError
from vqcodec.image.files import readable_formats

if TYPE_CHECKING:
    from typing_extensions import Buffer

INDEX = ".vqcodec-index.json"
VERSION = 1


@dataclass(frozen=True)
class Listed:
    """A picture file as its header describes it."""

    name: str
    """Path within the folder or shard."""
    offset: int
    """First byte in the shard; 0 for a file."""
    size: int
    """Bytes."""
    changed: int
    """Nanoseconds; that of the shard for its members."""
    width: int
    height: int
    """Stored pixels; 0 if there is a `fault`."""
    fault: str = ""
    """Reason why it cannot be used; empty if it can."""


def is_index(path: Path) -> bool:
    """True for the path of an index."""
    return path.name.endswith(INDEX)


def listing(path: Path, suffixes: Collection[str], keep: bool = True) -> list[Listed]:
    """Picture files of the folder or shard `path`: sorted by name, or in the order of the shard.

    With `keep` the index is read, and written if anything changed. Raises InputError for a damaged shard.
    """
    index = path / INDEX if path.is_dir() else path.with_name(path.name + INDEX)
    known = {entry.name: entry for entry in _read(index)} if keep else {}
    found = _of_folder(path, suffixes, known) if path.is_dir() else _of_shard(path, suffixes, known)
    if keep and found != list(known.values()):
        _write(index, found)
    return found


def _of_folder(folder: Path, suffixes: Collection[str], known: dict[str, Listed]) -> list[Listed]:
    found = []
    for file in sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes):
        name, stat = str(file.relative_to(folder)), file.stat()
        entry = known.get(name)
        if entry is None or (entry.size, entry.changed) != (stat.st_size, stat.st_mtime_ns):
            try:
                with open(file, "rb") as stream:
                    entry = _header(name, stream, 0, stat.st_size, stat.st_mtime_ns)
            except OSError as error:
                entry = Listed(name, 0, stat.st_size, stat.st_mtime_ns, 0, 0, error.strerror or "cannot be read")
        found.append(entry)
    return found


def _of_shard(shard: Path, suffixes: Collection[str], known: dict[str, Listed]) -> list[Listed]:
    try:
        changed, size = shard.stat().st_mtime_ns, shard.stat().st_size
    except OSError as error:
        raise InputError(f"{shard}: cannot be read: {error.strerror or error}") from error
    entries = list(known.values())
    if entries and all(e.changed == changed and 0 <= e.offset <= e.offset + e.size <= size for e in entries):
        return entries
    found = []
    try:
        with tarfile.open(shard, "r:") as tar, open(shard, "rb") as stream:
            for member in tar:
                if member.isfile() and Path(member.name).suffix.lower() in suffixes:
                    found.append(_header(member.name, stream, member.offset_data, member.size, changed))
    except tarfile.TarError as error:
        raise InputError(f"{shard}: not an uncompressed tar shard: {error}") from error
    return found


def _header(name: str, stream: IO[bytes], offset: int, size: int, changed: int) -> Listed:
    """Width and height from the first bytes of a picture."""
    try:
        with Image.open(cast(IO[bytes], Part(stream, offset, size)), formats=readable_formats()) as image:
            return Listed(name, offset, size, changed, *image.size)
    except UnidentifiedImageError:
        return Listed(name, offset, size, changed, 0, 0, "not a picture")
    except Exception as error:  # Pillow raises many kinds for damaged headers
        return Listed(name, offset, size, changed, 0, 0, " ".join(str(error).split()) or type(error).__name__)


class Part(io.RawIOBase):
    """`size` bytes at `offset` of a stream, as a file; reads only the bytes asked for and leaves the stream open."""

    def __init__(self, stream: IO[bytes], offset: int, size: int) -> None:
        self.stream, self.offset, self.size, self.place = stream, offset, size, 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        self.stream.seek(self.offset + self.place)
        data = self.stream.read(min(len(view), max(self.size - self.place, 0)))
        view[: len(data)] = data
        self.place += len(data)
        return len(data)

    @override
    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        self.place = max(start + place, 0)
        return self.place

    @override
    def tell(self) -> int:
        return self.place


def _read(index: Path) -> list[Listed]:
    """Entries of an index; nothing if it is missing, damaged or of another version."""
    try:
        data = json.loads(index.read_text(encoding="utf-8"))
        if data["version"] != VERSION:
            return []
        return [_entry(row) for row in data["pictures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _entry(row: list[Any]) -> Listed:
    name, *numbers, fault = row
    if not isinstance(name, str) or not isinstance(fault, str) or len(numbers) != 5:
        raise ValueError("not an entry")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("not an entry")
    offset, size, changed, width, height = numbers
    return Listed(name, offset, size, changed, width, height, fault)


def _write(index: Path, found: list[Listed]) -> None:
    """Replace the whole index, safely with several processes; a folder that cannot be written gets none."""
    text = json.dumps({"version": VERSION, "pictures": [astuple(entry) for entry in found]}, separators=(",", ":"))
    draft = ""
    try:
        with tempfile.NamedTemporaryFile("w", dir=index.parent, suffix=INDEX, delete=False, encoding="utf-8") as file:
            draft = file.name
            file.write(text + "\n")
        os.chmod(draft, 0o644)
        os.replace(draft, index)
    except OSError:
        if draft:
            Path(draft).unlink(missing_ok=True)
