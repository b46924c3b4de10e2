"""Folders behind URLs as SRC or DST of a batch: objects appear complete or not at all, so no drafts are needed.

A tree is listed once; paths in it have the methods of `pathlib.Path` that a plan uses. The record of a target is an
object in PARTS until the manifest with its line is uploaded. There is no lock: two batches that write to one URL at a
time may convert a file twice.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqcodec import remote
from vqcodec.errors import InputError, LimitError, OutputError

from .manifest import MANIFEST, Manifest
from .parts import PARTS, RECORD, part_name

UPLOAD_S = 30.0
"""Seconds between two uploads of the manifest, at least."""
UPLOAD_SHARE = 0.05
"""Part of the time, at most, in which the manifest is uploaded."""
PROBE = f"{PARTS}/probe"
"""Object that is written and deleted before any work."""


@dataclass(frozen=True)
class RemoteStat:
    """Facts of an object, named as in `os.stat_result`."""

    st_size: int
    st_mtime_ns: int
    st_mode: int = stat.S_IFREG


class RemoteTree:
    """The folder behind a URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") if not url.endswith("://") else url
        self._entries: dict[str, remote.Entry] | None = None

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_entries": None}  # worker processes need no list

    def absolute(self) -> RemoteTree:
        """The tree itself: a URL does not depend on the working directory."""
        return self

    def entries(self) -> dict[str, remote.Entry]:
        """Name -> size and time of each file. Raises InputError, UsageError."""
        if self._entries is None:
            self._entries = remote.find(self.url)
        return self._entries

    def read(self, name: str, max_bytes: int) -> tuple[bytes, remote.Entry]:
        """A file, and its size and time before reading. Raises InputError, LimitError beyond `max_bytes` bytes."""
        url = remote.join(self.url, name)
        entry = remote.entry(url)
        if entry.size > max_bytes:
            raise LimitError(f"{url}: {entry.size:,} bytes; at most {max_bytes:,} are read (--max-pixels)")
        return remote.read_bytes(url), entry

    def write(self, name: str, data: bytes, record: bytes, force: bool) -> None:
        """Write a file and before it its record, over an existing file only with `force`. Raises OutputError.

        A file that another process has written with the same bytes meanwhile counts as written.
        """
        url, record_url = remote.join(self.url, name), remote.join(self.url, part_name(name, RECORD))
        remote.write_bytes(record_url, record, force=True)
        try:
            remote.write_bytes(url, data, force)
        except OutputError as error:
            if not isinstance(error.__cause__, FileExistsError) or remote.read_bytes(url) != data:
                with suppress(OutputError):  # the next batch drops the record
                    remote.delete([record_url])
                raise

    def parts(self) -> list[str]:
        """Names of the files in PARTS, listed anew. Raises InputError."""
        try:
            return [f"{PARTS}/{name}" for name in remote.find(remote.join(self.url, PARTS))]
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise

    def delete(self, names: Iterable[str]) -> None:
        """Delete files. Raises OutputError."""
        remote.delete([remote.join(self.url, name) for name in names])

    def remove_parts(self) -> None:
        """Delete the folder PARTS if it is empty, where the protocol has folders."""
        remote.remove_empty_folder(remote.join(self.url, PARTS))

    def check_readable(self) -> None:
        """Raise InputError unless there are files."""
        if not self.entries():
            raise InputError(f"{self.url}: holds no files")

    def check_writable(self) -> None:
        """Raise OutputError, before any file is converted, if no object can be created, or none deleted."""
        url = remote.join(self.url, PROBE)
        remote.write_bytes(url, b"", force=True)
        remote.delete([url])

    def expect_targets(self) -> None:
        """List the files that are there; none if the folder does not exist yet. Raises UsageError, OutputError."""
        try:
            self.entries()
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise OutputError(str(error)) from error
            self._entries = {}


@dataclass(frozen=True)
class RemotePath:
    """A file below a tree."""

    tree: RemoteTree
    name: str

    def __str__(self) -> str:
        return remote.join(self.tree.url, self.name)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.tree, f"{self.name}/{name}")

    @property
    def parent(self) -> RemotePath:
        """The folder that holds the file."""
        return RemotePath(self.tree, self.name.rpartition("/")[0])

    def lstat(self) -> RemoteStat:
        """Size and time as listed. Raises FileNotFoundError."""
        entry = self.tree.entries().get(self.name)
        if entry is None:
            raise FileNotFoundError(str(self))
        return RemoteStat(entry.size, entry.mtime_ns)

    stat = lstat

    def read_bytes(self) -> bytes:
        """The file. Raises FileNotFoundError, and InputError if it cannot be read."""
        try:
            return remote.read_bytes(str(self))
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            raise


Place = Path | RemoteTree
"""SRC or DST."""


def place(name: str) -> Place:
    """The folder called `name`, a path or a URL."""
    return RemoteTree(name) if remote.is_url(name) else Path(name)


def is_inside(src: Place, dst: Place) -> bool:
    """True if DST is SRC itself."""
    if isinstance(src, RemoteTree) or isinstance(dst, RemoteTree):
        return str(src) == str(dst)
    return os.path.exists(dst) and dst.samefile(src)


class RemoteManifest(Manifest):
    """The manifest of a DST behind a URL: a local file, uploaded now and then and by `save`.

    The lines since the last upload are also records in PARTS, which an upload deletes.
    """

    def __init__(self, tree: RemoteTree) -> None:
        self.tree, self.url = tree, remote.join(tree.url, MANIFEST)
        self._folder = tempfile.TemporaryDirectory(prefix="vqcodec-batch-")
        path = Path(self._folder.name, MANIFEST)
        if MANIFEST in tree.entries():
            path.write_bytes(remote.read_bytes(self.url))
        super().__init__(path)
        self._next, self._changed = time.monotonic() + UPLOAD_S, False
        self._recorded: list[str] = []
        """Records of the lines since the last upload."""

    @property
    def name(self) -> str:
        """URL of the manifest."""
        return self.url

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line; upload the file if it is time. Raises OutputError."""
        super().append(entry)
        self._changed = True
        if entry.get("status") == "done":
            self._recorded.append(part_name(entry["target"], RECORD))
        if time.monotonic() > self._next:
            self.save()

    def close(self) -> None:
        """Delete the local file; lines that are not uploaded stay in PARTS."""
        super().close()
        self._folder.cleanup()

    def save(self) -> None:
        """Upload the file if it has changed, then delete the records of its lines. Raises OutputError."""
        if not self._changed:
            return
        start = time.monotonic()
        remote.write_bytes(self.url, self.path.read_bytes(), force=True)
        self.tree.delete(self._recorded)
        self._recorded, self._changed = [], False
        now = time.monotonic()
        self._next = now + max(UPLOAD_S, (now - start) / UPLOAD_SHARE)


def open_manifest(dst: Place, path: Path | None) -> Manifest:
    """The manifest at `path`, or that of DST if None. Raises OutputError."""
    if path is None and isinstance(dst, RemoteTree):
        return RemoteManifest(dst)
    return Manifest(Path(str(dst), MANIFEST) if path is None else path)
