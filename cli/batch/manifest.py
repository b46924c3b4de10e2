"""The manifest of a batch: JSON Lines, one for each file that was converted, skipped or failed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from vqcodec.errors import OutputError

MANIFEST = ".vqcodec-manifest.jsonl"
"""Default name in DST."""


@dataclass(frozen=True)
class Record:
    """A finished conversion; the line in the manifest has further keys, which are not read again."""

    source: str
    target: str
    settings: str
    """Digest of the options and the model, which determine the bytes of the target."""
    bytes: int
    sha256: str
    """SHA-256 of the target."""
    source_size: int
    source_mtime_ns: int


class Manifest:
    """The manifest at `path`, which need not exist. Raises OutputError.

    A line is appended as each file finishes, so that a killed run loses at most the line being written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Record] = {}
        """Target -> its last record."""
        self.skipped: set[str] = set()
        """Targets that have a line with status `skipped`, which is not repeated."""
        self._file: BinaryIO | None = None
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{path}: the manifest cannot be read: {error.strerror or error}") from error
        for line in lines:
            try:
                self._add(json.loads(line))
            except ValueError:  # a line that a killed run left incomplete
                continue

    @property
    def name(self) -> str:
        """Name of the file in messages."""
        return str(self.path)

    def _add(self, entry: Any) -> None:
        """Take over an entry as it was read or appended."""
        if not isinstance(entry, dict) or not isinstance(entry.get("target"), str):
            return
        if entry.get("status") == "skipped":
            self.skipped.add(entry["target"])
        elif entry.get("status") == "done":
            values: dict[str, Any] = {field.name: entry.get(field.name) for field in fields(Record)}
            kinds = {"bytes": int, "source_size": int, "source_mtime_ns": int}
            if all(isinstance(value, kinds.get(name, str)) for name, value in values.items()):
                self.done[entry["target"]] = Record(**values)

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line and flush it. Raises OutputError."""
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
                if size := self._file.seek(0, os.SEEK_END):
                    self._file.seek(size - 1)
                    if self._file.read(1) != b"\n":
                        self._file.write(b"\n")
            self._file.write(json.dumps(entry).encode("ascii") + b"\n")
            self._add(entry)
        except OSError as error:
            raise OutputError(f"{self.path}: the manifest cannot be written: {error.strerror or error}") from error

    def save(self) -> None:
        """Make the lines so far last beyond a kill: they do, in a local file."""

    def close(self) -> None:
        """Close the file; `append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
