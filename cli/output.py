"""Reading inputs and writing outputs: `-` is stdin or stdout, files appear whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from vqcodec.errors import InputError, OutputError

STDIO = Path("-")


def read_input(source: Path) -> bytes:
    """All bytes of a file, or of stdin for `-`. Raises InputError."""
    if source == STDIO:
        data = sys.stdin.buffer.read()
        if not data:
            raise InputError("<stdin>: empty")
        return data
    try:
        return source.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{source}: is a directory; use `vqcodec batch` for directories") from None
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


def check_target(target: Path, force: bool, sources: tuple[Path, ...] = ()) -> None:
    """Raise OutputError now, before any work, if `target` could not be written later or is one of its `sources`."""
    if target == STDIO:
        if sys.stdout.isatty() and not force:
            raise OutputError("stdout is a terminal; redirect it, or add -f to write binary data to it")
        return
    if target.is_dir():
        raise OutputError(f"{target}: is a directory; name a file")
    for source in sources:
        if source != STDIO and target.exists() and source.exists() and target.samefile(source):
            raise OutputError(f"{target}: is the input itself; choose another output")
    if target.exists() and not force:
        raise OutputError(f"{target}: exists already; add -f to overwrite it")
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: not writable")


def write_new(target: Path, data: bytes, force: bool = False) -> None:
    """Write `data` to `target` atomically, or to stdout for `-`. Raises OutputError; a failure leaves nothing behind."""
    check_target(target, force)
    if target == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    draft = None
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o666 & ~_umask())
        _publish(draft, target, force)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if draft is not None and os.path.exists(draft):
            os.unlink(draft)


def _publish(draft: str, target: Path, force: bool) -> None:
    """Give the finished draft its name; without `force` never over a file that appeared meanwhile."""
    if force:
        os.replace(draft, target)
        return
    try:
        os.link(draft, target)
    except FileExistsError:
        raise OutputError(f"{target}: exists already; add -f to overwrite it") from None
    except OSError:
        os.rename(draft, target)  # a file system without hard links


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def say(message: str) -> None:
    """One line for people, on stderr."""
    print(message, file=sys.stderr)
