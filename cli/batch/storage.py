"""Bytes of a batch's files: a source is read whole, a target appears complete or not at all.

These functions are the only ones that read a source or write a target; names are relative to SRC and DST and use `/`.

A new target passes through the folder PARTS in DST: draft and record are written there, then the draft is renamed. A
batch killed at any moment leaves files in that folder only, where the next batch finds them (`recovery.py`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vqcodec.errors import InputError, LimitError, OutputError

from ..files import mode_of, publish, write_new
from .parts import DRAFT, JOURNAL, RECORD, SHARD, part_name
from .plan import REPLACE, Job, file_digest
from .remote_tree import Place, RemoteTree

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of a file system that no further file would escape."""


class StorageFullError(OutputError):
    """DST accepts no further file: it is full or read-only."""


@dataclass(frozen=True)
class Source:
    """A source as it was read."""

    data: bytes
    size: int
    """Bytes, before reading: the next batch notices a change during the conversion."""
    mtime_ns: int
    atime_ns: int


def read_source(src: Place, name: str, max_bytes: int) -> Source:
    """Read the file `name` in `src`. Raises InputError, and LimitError for more than `max_bytes` bytes."""
    if isinstance(src, RemoteTree):
        data, entry = src.read(name, max_bytes)
        return Source(data, entry.size, entry.mtime_ns, entry.mtime_ns)
    path = src / name
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise InputError(f"{path}: is not a file")
            if before.st_size > max_bytes:
                raise LimitError(f"{path}: {before.st_size:,} bytes; at most {max_bytes:,} are read (--max-pixels)")
            return Source(file.read(), before.st_size, before.st_mtime_ns, before.st_atime_ns)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; it was moved, or is a link to nowhere") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_target(dst: Place, job: Job, data: bytes, record: bytes, times: tuple[int, int] | None = None) -> None:
    """Write the target of `job` with `data`, and before it its `record`, the later line of the manifest.

    A new target that another process has written with the same bytes meanwhile counts as written. `times` are those of
    access and modification, in nanoseconds. Raises OutputError; StorageFullError if every other file would fail too.
    """
    if isinstance(dst, RemoteTree):
        dst.write(job.target, data, record, force=job.action == REPLACE)
        return
    final = dst / job.target
    with output_errors(dst, final):
        _make_folder(final.parent)
        if job.replaces is not None and file_digest(final) not in (job.replaces, None):
            raise OutputError(f"{final}: was changed during the batch; add -f to overwrite it")
        draft, record_path = part(dst, job.target, DRAFT), part(dst, job.target, RECORD)
        draft.parent.mkdir(exist_ok=True)
        try:
            _write(draft, data)
            os.chmod(draft, mode_of(final))
            if times is not None:
                os.utime(draft, ns=times)
            record_path.write_bytes(record)
            publish(str(draft), final, job.action == REPLACE)
        except BaseException as error:
            record_path.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno == errno.EXDEV:  # the folder is on another file system
                write_new(final, data, job.action == REPLACE, times)
            elif not (isinstance(error, OutputError) and file_digest(final) == hashlib.sha256(data).hexdigest()):
                raise
        finally:
            draft.unlink(missing_ok=True)


def part(dst: Path, target: str, kind: str) -> Path:
    """File in PARTS that belongs to `target`: its DRAFT or RECORD."""
    return dst / part_name(target, kind)


def shard_parts(dst: Path, target: str) -> tuple[Path, Path]:
    """Files in PARTS of an unfinished shard: the shard so far, and its journal."""
    return part(dst, target, SHARD), part(dst, target, JOURNAL)


def publish_shard(dst: Path, job: Job, draft: Path, record: bytes) -> None:
    """Write the record of a finished shard and rename its draft. Raises OutputError."""
    final = dst / job.target
    with output_errors(dst, final):
        _make_folder(final.parent)
        if job.replaces is not None and file_digest(final) not in (job.replaces, None):
            raise OutputError(f"{final}: was changed during the batch; add -f to overwrite it")
        os.chmod(draft, mode_of(final))
        part(dst, job.target, RECORD).write_bytes(record)
        publish(str(draft), final, job.action == REPLACE)
        draft.unlink(missing_ok=True)


def discard_shard(draft: Path, journal: Path) -> None:
    """Delete the files of an unfinished shard."""
    draft.unlink(missing_ok=True)
    journal.unlink(missing_ok=True)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file for reading; a pipe, which may have replaced it, does not block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder}: a file exists where a directory is needed") from None


@contextmanager
def output_errors(dst: Place, final: Path) -> Iterator[None]:
    """Errors of the operating system as OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise StorageFullError(f"{dst}: {reason}; make room, then run the batch again to continue") from error
        raise OutputError(f"{final}: cannot be written: {reason}") from error
