"""What a batch has to do: the sources and their targets, the manifest of what is done, a decision for each file.

Nothing is converted here and nothing written but lines of the manifest; `batch_work.py` converts.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from vqcodec.errors import OutputError

MANIFEST = ".vqcodec-manifest.jsonl"

MOST_NAME = 255
"""Bytes of a file name that file systems take."""

NEW, REPLACE, SKIP, FAIL = "new", "replace", "skip", "fail"


@dataclass(frozen=True)
class Listing:
    """What lies under a folder; names are relative to it, with `/`."""

    sources: tuple[str, ...]
    ignored: Counter[str]
    """Kind (a suffix, "hidden", "linked folder" or "other") -> how many."""
    unreadable: tuple[tuple[str, str], ...]
    """(folder, reason)."""


def list_sources(src: Path, dst: Path, suffixes: Iterable[str]) -> Listing:
    """The files of these suffixes (".jpg") under `src`, sorted; hidden ones, linked folders and `dst` are left out."""
    wanted, own = frozenset(suffixes), _identity(dst)
    sources: list[str] = []
    ignored: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(src / folder) as found:
                entries = list(found)
        except OSError as error:
            unreadable.append((folder or ".", f"cannot be listed: {error.strerror or error}"))
            continue
        for entry in entries:
            name, suffix = folder + entry.name, os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                if entry.name != MANIFEST:
                    ignored["hidden"] += 1
            elif entry.is_dir(follow_symlinks=False):
                if own is None or _identity(src / name) != own:
                    folders.append(name + "/")
            elif entry.is_dir():
                ignored["linked folder"] += 1
            elif suffix in wanted and (entry.is_file() or entry.is_symlink()):  # a link to nothing fails later, aloud
                sources.append(name)
            else:
                ignored[suffix or "other"] += 1
    return Listing(tuple(sorted(sources)), ignored, tuple(sorted(unreadable)))


def target_names(sources: Iterable[str], suffix: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Target of each source, no two alike: `a.jpg` becomes `a.vqc`.

    Sources that would share a target, `a.jpg` and `a.png`, all keep their whole name: `a.jpg.vqc`, `a.png.vqc`. But one
    that an earlier batch has named, by `known`, keeps that name. Names that differ in case alone count as alike, since
    some file systems take them so.
    """
    short = {source: _fitting(os.path.splitext(source)[0], suffix, source) for source in sources}
    whole = {source: _fitting(source, suffix, source) for source in short}
    known = known or {}
    named = {source for source in short if known.get(source) in (short[source], whole[source])}
    targets = short | {source: known[source] for source in named}
    while True:  # a whole name may be another's short one, so look again until nothing changes
        groups: dict[str, list[str]] = defaultdict(list)
        for source, target in targets.items():
            groups[target.casefold()].append(source)
        changed: dict[str, str] = {}
        for group in groups.values():
            if len(group) > 1:
                free = [s for s in group if s not in named and targets[s] != whole[s]]
                changed |= {s: whole[s] for s in free or group if targets[s] != whole[s]}
        if not changed:
            return targets
        targets |= changed


def _fitting(stem: str, suffix: str, source: str) -> str:
    """stem + suffix; a name too long for file systems is cut, and told apart by a digest of `source`."""
    folder, name = os.path.split(stem + suffix)
    if len(os.fsencode(name)) <= MOST_NAME:
        return stem + suffix
    digest = "~" + hashlib.sha256(os.fsencode(source)).hexdigest()[:8] + suffix
    cut = os.fsencode(os.path.basename(stem))[: MOST_NAME - len(digest)].decode("utf-8", "ignore")
    return os.path.join(folder, cut + digest)


@dataclass(frozen=True)
class Record:
    """A conversion that the manifest lists as done; the rest of its line is for people."""

    source: str
    target: str
    settings: str
    """Digest of what decides about the bytes of the target."""
    bytes: int
    sha256: str
    """Of the target."""
    source_size: int
    source_mtime_ns: int


class Manifest:
    """JSON Lines, one for each file as it finishes, so that a kill loses at most the line that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Record] = {}
        """Target -> the last record of it."""
        self.skipped: set[str] = set()
        """Targets with a line that says so, which is not repeated."""
        self._file: BinaryIO | None = None
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{path}: the manifest cannot be read: {error.strerror or error}") from error
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:  # torn by a kill
            return
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
        """Write one line, at once. Raises OutputError."""
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
                if size := self._file.seek(0, os.SEEK_END):
                    self._file.seek(size - 1)
                    if self._file.read(1) != b"\n":
                        self._file.write(b"\n")
            self._file.write(json.dumps(entry).encode("ascii") + b"\n")
        except OSError as error:
            raise OutputError(f"{self.path}: the manifest cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file; `append` would open it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class Job:
    """One source, its target, and what is to be done; names are relative to SRC and DST."""

    source: str
    target: str
    action: str
    """NEW, REPLACE, SKIP or FAIL."""
    reason: str = ""
    replaces: str | None = None
    """SHA-256 that the target must still have when it is replaced; None replaces it whatever it is."""


class Planner:
    """Decides about each file. Outputs that the manifest lists may be replaced; others only with `force`.

    `resume` trusts what the manifest lists as done without looking at the source again. Without a record a target that
    is not older than its source counts as done.
    """

    def __init__(self, src: Path, dst: Path, manifest: Manifest, settings: str, force: bool, resume: bool) -> None:
        self.src, self.dst, self.manifest, self.settings = src, dst, manifest, settings
        self.force, self.resume = force, resume

    def plan(self, source: str, target: str) -> Job:
        """What to do about `source`."""
        path = self.dst / target
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            return Job(source, target, NEW)
        except NotADirectoryError:
            return Job(source, target, FAIL, f"{path.parent}: a file is where a directory is needed")
        except OSError as error:
            return Job(source, target, FAIL, f"{path}: cannot be written: {error.strerror or error}")
        if not stat.S_ISREG(there.st_mode):
            return Job(source, target, FAIL, f"{path}: exists and is not a file; move it away")
        try:
            origin = os.stat(self.src / source)
        except OSError:
            return Job(source, target, REPLACE)  # fails when it is read, which says why
        record = self.manifest.done.get(target)
        if record is None:
            return self._unknown(source, target, there, origin)
        same = record.source == source and record.settings == self.settings
        fresh = (record.source_size, record.source_mtime_ns) == (origin.st_size, origin.st_mtime_ns)
        if same and there.st_size == record.bytes and (fresh or self.resume):
            return Job(source, target, SKIP, "done before")
        if self.force:
            return Job(source, target, REPLACE, "forced")
        if there.st_size == record.bytes and file_digest(path) == record.sha256:
            reason = "the source has changed" if same else "made with other settings or from another source"
            return Job(source, target, REPLACE, reason, record.sha256)
        return Job(source, target, FAIL, f"{path}: was changed since a batch made it; add -f to overwrite it")

    def _unknown(self, source: str, target: str, there: os.stat_result, origin: os.stat_result) -> Job:
        if self.force:
            return Job(source, target, REPLACE, "forced")
        if there.st_mtime_ns >= origin.st_mtime_ns:
            return Job(source, target, SKIP, "exists and is not older than its source")
        path = self.dst / target
        return Job(source, target, FAIL, f"{path}: exists, is older than its source and not known as made by a batch; "
                   "add -f to overwrite it")  # fmt: skip


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file, None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
