"""Files behind URLs (s3://bucket/key, memory://name) through fsspec, with one line for each error.

fsspec and s3fs come with the extra `remote`; they are imported at the first URL.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, OutputError, UsageError, VqcError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z0-9+.:/-]+?)?://")
WHOLE_OBJECT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"}
"""Protocols on which an object appears complete or not at all; on others it is written aside and renamed."""
DELETED_TOGETHER = 1000
"""Files that one request deletes: the limit of S3."""


def is_url(name: str | Path) -> bool:
    """True for names such as s3://bucket/key, memory://name and filecache::s3://bucket/key."""
    return isinstance(name, str) and _URL.match(name) is not None


_JOINED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(?=.)")


def url_of(path: Path) -> str | None:
    """The URL that a path was made from, which lost one of its two slashes; None for other paths."""
    name = path.as_posix()
    return _JOINED.sub(r"\1://", name, count=1) if _JOINED.match(name) and not path.exists() else None


def check_new(url: str, force: bool) -> None:
    """Raise OutputError if a file exists and `force` is False, or if its protocol cannot be used."""
    with naming(url, OutputError):
        fs, path = open_url(url)
        if not force and fs.exists(path):
            raise FileExistsError(path)


def join(url: str, name: str) -> str:
    """The URL of `name` below the folder `url`."""
    return f"{url.rstrip('/')}/{name}"


def open_url(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the path there. Raises UsageError without the extra or for unknown protocols.

    Call it in the process that uses it: connections do not survive a fork.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(
            f"{url}: URLs need fsspec, which comes with the extra: pip install 'vqcodec[remote]'"
        ) from error
    try:
        fs, path = url_to_fs(url)
    except ImportError as error:
        hint = "pip install 'vqcodec[remote]', or the package of that protocol"
        raise UsageError(f"{url}: {' '.join(str(error).split())}; {hint}") from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}; known are s3://, memory:// and the other protocols of fsspec") from error
    return fs, path


@contextmanager
def naming(url: str, kind: type[VqcError]) -> Iterator[None]:
    """Errors of a file system inside as one line of class `kind` that begins with `url`."""
    try:
        yield
    except VqcError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{url}: no such file, folder or bucket") from error
    except FileExistsError as error:
        raise kind(f"{url}: exists already; add -f to overwrite it") from error
    except PermissionError as error:
        raise kind(f"{url}: no permission ({_reason(error)}); check the credentials") from error
    except IsADirectoryError as error:
        raise kind(f"{url}: is a folder") from error
    except Exception as error:  # each protocol has classes of its own: credentials, connections, names
        verb = "written" if kind is OutputError else "read"
        raise kind(f"{url}: cannot be {verb}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160] or type(error).__name__


def read_bytes(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file, or those from `start` up to `end`. Raises InputError, UsageError."""
    with naming(url, InputError):
        fs, path = open_url(url)
        data: bytes = fs.cat_file(path, start=start, end=end)
        return data


def write_bytes(url: str, data: bytes, force: bool = False) -> None:
    """Write a file, completely or not at all. Raises OutputError, also where it exists and `force` is False."""
    with naming(url, OutputError):
        fs, path = open_url(url)
        if not force and fs.exists(path):
            raise FileExistsError(path)
        if _stores_whole_objects(fs):
            fs.pipe_file(path, data)
            return
        folder, _, name = path.rpartition("/")
        if folder:
            fs.makedirs(folder, exist_ok=True)
        draft = f"{folder}/.{name[:40]}.{uuid.uuid4().hex[:8]}.part" if folder else f".{name[:40]}.part"
        try:
            fs.pipe_file(draft, data)
            fs.mv(draft, path)
        except BaseException:
            with suppress(Exception):
                fs.rm_file(draft)
            raise


def _stores_whole_objects(fs: AbstractFileSystem) -> bool:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    return bool(protocols & WHOLE_OBJECT)


@dataclass(frozen=True)
class Entry:
    """A file as a listing states it."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change in nanoseconds; 0 where the protocol has none."""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Entry:
        """The entry that fsspec describes by `info`."""
        found = next((info[name] for name in ("LastModified", "mtime", "created", "updated") if info.get(name)), 0)
        seconds = found.timestamp() if isinstance(found, datetime) else found
        return cls(int(info.get("size") or 0), round(seconds * 1e9) if isinstance(seconds, int | float) else 0)


def entry(url: str) -> Entry:
    """Size and time of a file. Raises InputError, UsageError."""
    with naming(url, InputError):
        fs, path = open_url(url)
        return Entry.of(fs.info(path))


def delete(urls: list[str]) -> None:
    """Delete files of one file system, many in one request where it has such requests.

    Files that are not there are passed over. Raises OutputError if a file cannot be deleted.
    """
    plain = [url for url in urls if not is_pattern(url)]  # a request for several files would take others as patterns
    left = [url for url in urls if is_pattern(url)]
    left += plain if len(plain) < 2 else _left_of_deleted(plain)
    for url in left:
        with naming(url, OutputError), suppress(FileNotFoundError):
            fs, path = open_url(url)
            fs.rm_file(path)


def _left_of_deleted(urls: list[str]) -> list[str]:
    """Delete files together; returns those that are still there, since s3fs ignores files that S3 refuses to delete."""
    with naming(urls[0], OutputError):
        fs, paths = open_url(urls[0])[0], {open_url(url)[1]: url for url in urls}
        for start in range(0, len(urls), DELETED_TOGETHER):
            with suppress(FileNotFoundError):
                fs.rm(list(paths)[start : start + DELETED_TOGETHER])
        fs.invalidate_cache()
        # `find`, since `ls` of a folder without objects lists the folder around it on S3.
        there = {path for folder in {path.rpartition("/")[0] for path in paths} for path in fs.find(folder)}
    return [url for path, url in paths.items() if path in there]


def remove_empty_folder(url: str) -> None:
    """Delete a folder that holds nothing, where the protocol has folders; another one stays."""
    fs, path = open_url(url)
    if not _stores_whole_objects(fs):
        with suppress(Exception):  # not there, in use, or of a protocol that deletes no folders
            fs.invalidate_cache()
            if not fs.ls(path, detail=False):  # the `rmdir` of some protocols would delete files too
                fs.rmdir(path)


def find(url: str) -> dict[str, Entry]:
    """Name, relative to the folder `url`, -> entry of each file below it. Raises InputError, UsageError."""
    with naming(url, InputError):
        fs, path = open_url(url)
        fs.invalidate_cache()
        found = fs.find(path, detail=True)
        base = path.rstrip("/")
        if not found and not fs.exists(path):
            raise FileNotFoundError(path)
        return {name[len(base) :].lstrip("/"): Entry.of(info) for name, info in found.items()}


def is_folder(url: str) -> bool:
    """True if files lie below `url`. Raises InputError, UsageError."""
    with naming(url, InputError):
        fs, path = open_url(url)
        return bool(fs.isdir(path))


def is_pattern(url: str) -> bool:
    """True with one of the signs * ? [ of patterns."""
    return any(sign in url for sign in "*?[")


def matches(url: str) -> list[str]:
    """URLs of the files that a pattern with * ? [ matches, sorted; `url` itself without one."""
    if not is_pattern(url):
        return [url]
    with naming(url, InputError):
        fs, path = open_url(url)
        prefix = url[: url.index("://") + 3]
        return [f"{prefix}{name.lstrip('/') if prefix != 'file://' else name}" for name in sorted(fs.glob(path))]
