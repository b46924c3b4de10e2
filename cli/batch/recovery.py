"""State that a killed batch leaves in DST: its lock, records of finished targets, and drafts.

A target and its line in the manifest cannot appear in one step. The record in PARTS is written before the target; a
record whose target is there becomes a line of the manifest. Unfinished shards stay; all else in PARTS is deleted.

Behind a URL, where nothing locks DST, a task of a Ray cluster may still write when its batch ends. The end of a batch
deletes the records of the manifest's lines only, and the start of the next one the others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import reduction
from pathlib import Path
from typing import Any

from vqcodec.errors import InputError, OutputError, VqcError

from .manifest import Manifest
from .parts import JOURNAL, PARTS, RECORD, SHARD, part_name
from .plan import Job, file_digest, read_digest
from .remote_tree import Place, RemotePath, RemoteTree
from .storage import part

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WAIT_S = 15.0
"""Seconds that worker processes of a killed batch get to end."""
POLL_S = 0.2
REQUESTS = 32
"""Records that are read at a time behind a URL."""


def recover(dst: Place, book: Manifest) -> None:
    """Complete `book` by the targets that were published without their line, and empty PARTS.

    The caller holds the lock of DST, if it has one, and no worker process is running.
    """
    if isinstance(dst, RemoteTree):
        dst.delete(_complete_remote(dst, book))
        dst.remove_parts()
    else:
        _recover_folder(dst, book)


@contextmanager
def completion(dst: Place, book: Manifest) -> Iterator[None]:
    """Complete `book` after the work inside.

    After an error only a folder is recovered: behind a URL that takes time, and the next batch does it.
    """
    try:
        yield
    except BaseException:
        if not isinstance(dst, RemoteTree):
            with suppress(OSError, VqcError):  # the error of the work is the one to report
                _recover_folder(dst, book)
        raise
    if isinstance(dst, RemoteTree):
        _complete_remote(dst, book)
        dst.remove_parts()
    else:
        _recover_folder(dst, book)


def _recover_folder(dst: Path, book: Manifest) -> None:
    folder = dst / PARTS
    if not folder.is_dir():
        return
    for path in folder.glob("*" + RECORD):
        entry = _read(path)
        if entry and not _is_listed(book, entry) and file_digest(dst / entry["target"]) == entry["sha256"]:
            book.append(entry)
        path.unlink(missing_ok=True)
    for path in sorted(folder.iterdir()):
        if not _is_continued(path, dst, book):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # unfinished shards
        folder.rmdir()


def _complete_remote(dst: RemoteTree, book: Manifest) -> list[str]:
    """Complete `book`, upload it, then delete the records of its lines.

    Returns the names of the other files in PARTS, except records that cannot be read now, or whose target cannot:
    these stay for the next batch.
    """
    book.save()
    names = dst.parts()
    with ThreadPoolExecutor(REQUESTS) as threads:
        entries = list(threads.map(partial(_line_of, dst, book), names))
    for entry in entries:
        if entry and not _is_listed(book, entry):
            book.append(entry)
    book.save()
    dst.delete(name for name, entry in zip(names, entries, strict=True) if entry)
    return [name for name, entry in zip(names, entries, strict=True) if entry == {}]


def _line_of(dst: RemoteTree, book: Manifest, name: str) -> dict[str, Any] | None:
    """The line of the manifest that the file `name` in PARTS holds: of a target that is there, or that has the line.

    Empty if there is no such line; None if the record or the target cannot be read.
    """
    if not name.endswith(RECORD):
        return {}
    try:
        entry = _read(dst / name)
        there = entry and (_is_listed(book, entry) or read_digest(dst / entry["target"]) == entry["sha256"])
    except InputError:
        return None
    return entry if there else {}


def _is_listed(book: Manifest, entry: dict[str, Any]) -> bool:
    known = book.done.get(entry["target"])
    return known is not None and known.sha256 == entry["sha256"]


def _is_continued(path: Path, dst: Path, book: Manifest) -> bool:
    """True for the draft and the journal of a shard that is not finished: the next batch continues it."""
    if path.suffix not in (SHARD, JOURNAL):
        return False
    head = _head(path.with_suffix(JOURNAL))
    known = book.done.get(str(head.get("target", "")))
    facts = ("source", "settings", "source_size", "source_mtime_ns")
    finished = known is not None and all(getattr(known, name) == head.get(name) for name in facts)
    return bool(head) and path.with_suffix(SHARD).exists() and not finished


def _head(journal: Path) -> dict[str, Any]:
    """First line of a journal; empty if it is missing."""
    try:
        with open(journal, "rb") as file:
            head = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return head if isinstance(head, dict) else {}


def forget(dst: Place, target: str) -> None:
    """Delete the record of a target that the manifest lists."""
    if not isinstance(dst, RemoteTree):  # behind a URL the next upload of the manifest deletes it
        part(dst, target, RECORD).unlink(missing_ok=True)


def finished_before(dst: Place, jobs: Iterable[Job], identity: str) -> dict[Job, dict[str, Any]]:
    """The records of the targets that an earlier attempt at `jobs` has published."""

    def record(job: Job) -> dict[str, Any]:
        try:
            entry = _read(dst / part_name(job.target, RECORD))
        except InputError:
            return {}  # the file is converted again
        same = entry.get("source") == job.source and entry.get("settings") == identity
        return entry if same and file_digest(dst / job.target) == entry["sha256"] else {}

    with ThreadPoolExecutor(REQUESTS) as threads:
        return {job: entry for job, entry in zip(jobs, threads.map(record, jobs), strict=True) if entry}


def _read(path: Path | RemotePath) -> dict[str, Any]:
    """The record; empty if it is missing or incomplete. Raises InputError if it cannot be read behind a URL."""
    try:
        entry = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    is_record = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in ("target", "sha256"))
    return entry if is_record and entry["target"] else {}


class Lock:
    """Exclusive use of a folder by one batch, its worker processes included.

    Worker processes inherit the open folder, and with it the lock: it is free when the last of them has ended. Where
    the file system has no locks, none is taken.
    """

    def __init__(self, folder: Path, on_wait: Callable[[], None]) -> None:
        """Lock `folder`; `on_wait` is called once if it is in use. Raises OutputError after WAIT_S seconds."""
        self.number = -1
        if fcntl is None:
            return
        self.number = os.open(folder, os.O_RDONLY)
        until, waited = time.monotonic() + WAIT_S, False
        while True:
            try:
                fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    self.close()
                    raise OutputError(f"{folder}: another batch is writing here; wait until it has ended") from None
            except OSError:  # a network file system without locks
                return
            if not waited:
                on_wait()
                waited = True
            time.sleep(POLL_S)

    def close(self) -> None:
        """Unlock, unless a worker process still runs."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def __getstate__(self) -> Any:
        return None if self.number < 0 else reduction.DupFd(self.number)

    def __setstate__(self, inherited: Any) -> None:
        self.number = -1 if inherited is None else inherited.detach()
