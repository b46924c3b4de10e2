"""The plan of a batch: sources, target names, and the action for each file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vqcodec.errors import InputError

from .manifest import MANIFEST, Manifest
from .parts import PARTS
from .patterns import ALL, Filter
from .remote_tree import Place, RemotePath, RemoteStat, RemoteTree
from .settings import Choices, Settings

MAX_NAME_BYTES = 255
"""Longest file name that common file systems accept."""

Stat = os.stat_result | RemoteStat
NEW, REPLACE, SKIP, FAIL = "new", "replace", "skip", "fail"


@dataclass(frozen=True)
class Listing:
    """The files below a folder; names are relative to it and use `/`."""

    sources: tuple[str, ...]
    ignored: Counter[str]
    """Kind (a suffix, "hidden", "excluded", "linked folder" or "other") -> number of files."""
    unreadable: tuple[tuple[str, str], ...]
    """(folder, reason)."""


def listing_of(settings: Settings, choices: Choices) -> Listing:
    """The files of SRC that a batch converts. Raises UsageError for a bad pattern."""
    from vqcodec.image.files import suffixes

    chosen = Filter(choices.include, choices.exclude)
    wanted = {"vqc": suffixes(), "tokens": frozenset[str]()}.get(settings.to, frozenset({".vqc"}))
    return list_sources(settings.src, settings.dst, wanted | ({".tar"} if settings.shards else set()), chosen)


def list_sources(src: Place, dst: Place, suffixes: Iterable[str], chosen: Filter = ALL) -> Listing:
    """The `chosen` files below `src` with one of `suffixes` (".jpg"), sorted; no hidden ones, linked folders, `dst`."""
    if isinstance(src, RemoteTree):
        return _list_tree(src, frozenset(suffixes), chosen)
    wanted, own = frozenset(suffixes), None if isinstance(dst, RemoteTree) else _file_id(dst)
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
                if entry.name not in (MANIFEST, PARTS):
                    ignored["hidden"] += 1
            elif chosen.excludes(name):
                ignored["excluded"] += 1
            elif entry.is_dir(follow_symlinks=False):
                if own is None or _file_id(src / name) != own:
                    folders.append(name + "/")
            elif _is_linked_folder(entry):
                ignored["linked folder"] += 1
            elif suffix in wanted and (entry.is_symlink() or entry.is_file()):
                if chosen.includes(name):
                    sources.append(name)  # reading a dangling link fails later, with a message
                else:
                    ignored["excluded"] += 1
            else:
                ignored[suffix or "other"] += 1
    return Listing(tuple(sorted(sources)), ignored, tuple(sorted(unreadable)))


def _list_tree(src: RemoteTree, wanted: frozenset[str], chosen: Filter) -> Listing:
    """`list_sources` of a tree behind a URL. Raises InputError, UsageError."""
    sources: list[str] = []
    ignored: Counter[str] = Counter()
    for name in src.entries():
        parts, suffix = name.split("/"), os.path.splitext(name)[1].lower()
        folders = ["/".join(parts[:n]) for n in range(1, len(parts))]
        if any(part.startswith(".") for part in parts):
            ignored["hidden"] += parts[-1] != MANIFEST and PARTS not in parts
        elif any(map(chosen.excludes, [*folders, name])) or (suffix in wanted and not chosen.includes(name)):
            ignored["excluded"] += 1
        elif suffix in wanted:
            sources.append(name)
        else:
            ignored[suffix or "other"] += 1
    return Listing(tuple(sorted(sources)), +ignored, ())


def _is_linked_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that point to each other
        return False


def target_names(sources: Iterable[str], suffix: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """A distinct target for each source: `a.jpg` becomes `a.vqc`.

    Sources that would share a target, such as `a.jpg` and `a.png`, keep their whole name: `a.jpg.vqc`, `a.png.vqc`. A
    source that an earlier batch has named, in `known` (source -> target), keeps that name. Names that differ only in
    case count as equal, as on some file systems.
    """
    short = {source: _fitting(os.path.splitext(source)[0], suffix, source) for source in sources}
    whole = {source: _fitting(source, suffix, source) for source in short}
    known = known or {}
    named = {source for source in short if known.get(source) in (short[source], whole[source])}
    targets = short | {source: known[source] for source in named}
    while True:  # a whole name may be another source's short name: repeat until nothing changes
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
    """stem + suffix; a name that is too long is cut and made distinct by a digest of `source`."""
    folder, name = os.path.split(stem + suffix)
    if len(os.fsencode(name)) <= MAX_NAME_BYTES:
        return stem + suffix
    digest = "~" + hashlib.sha256(os.fsencode(source)).hexdigest()[:8] + suffix
    cut = os.fsencode(os.path.basename(stem))[: MAX_NAME_BYTES - len(digest)].decode("utf-8", "ignore")
    return os.path.join(folder, cut + digest)


@dataclass(frozen=True)
class Job:
    """One source, its target and the action; names are relative to SRC and DST."""

    source: str
    target: str
    action: str
    """NEW, REPLACE, SKIP or FAIL."""
    reason: str = ""
    replaces: str | None = None
    """SHA-256 that the target must still have when it is replaced; None: no condition."""


class Planner:
    """Chooses the action for each file. Targets that the manifest lists may be replaced; others only with `force`.

    With `resume` a file that the manifest lists as done is skipped even if its source has changed. A target without a
    record counts as done if it is not older than its source.
    """

    def __init__(self, src: Place, dst: Place, manifest: Manifest, settings: str, force: bool, resume: bool) -> None:
        self.src, self.dst, self.manifest, self.settings = src, dst, manifest, settings
        self.force, self.resume = force, resume

    def plan(self, source: str, target: str) -> Job:
        """The job of `source`."""
        path = self.dst / target
        try:
            present = path.lstat()
        except FileNotFoundError:
            return Job(source, target, NEW)
        except NotADirectoryError:
            return Job(source, target, FAIL, f"{path.parent}: a file exists where a directory is needed")
        except OSError as error:
            return Job(source, target, FAIL, f"{path}: cannot be written: {error.strerror or error}")
        if not stat.S_ISREG(present.st_mode):
            return Job(source, target, FAIL, f"{path}: exists and is not a file; move it away")
        try:
            origin = (self.src / source).stat()
        except OSError:
            return Job(source, target, REPLACE)  # reading it fails, with the reason
        record = self.manifest.done.get(target)
        if record is None:
            return self._without_record(source, target, present, origin)
        same = record.source == source and record.settings == self.settings
        fresh = (record.source_size, record.source_mtime_ns) == (origin.st_size, origin.st_mtime_ns)
        if same and present.st_size == record.bytes and (fresh or self.resume):
            return Job(source, target, SKIP, "done before")
        if self.force:
            return Job(source, target, REPLACE, "forced")
        try:
            unchanged = present.st_size == record.bytes and read_digest(path) == record.sha256
        except InputError as error:
            return Job(source, target, FAIL, str(error))
        if unchanged:
            reason = "the source has changed" if same else "made with other settings or from another source"
            return Job(source, target, REPLACE, reason, record.sha256)
        return Job(source, target, FAIL, f"{path}: was changed after a batch made it; add -f to overwrite it")

    def _without_record(self, source: str, target: str, present: Stat, origin: Stat) -> Job:
        if self.force:
            return Job(source, target, REPLACE, "forced")
        if present.st_mtime_ns >= origin.st_mtime_ns:
            return Job(source, target, SKIP, "exists and is not older than its source")
        path = self.dst / target
        reason = "exists, is older than its source and was not made by a batch; add -f to overwrite it"
        return Job(source, target, FAIL, f"{path}: {reason}")


def file_digest(path: Path | RemotePath) -> str | None:
    """SHA-256 of a file, None if it cannot be read."""
    try:
        return read_digest(path)
    except InputError:
        return None


def read_digest(path: Path | RemotePath) -> str | None:
    """SHA-256 of a file, None if it is not there. Raises InputError if it cannot be read."""
    try:
        if isinstance(path, RemotePath):
            return hashlib.sha256(path.read_bytes()).hexdigest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
