"""Input and output files: `-` is stdin or stdout, and an output appears complete or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

from vqcodec import remote
from vqcodec.container import MAGIC
from vqcodec.container.foreign import foreign, picture_format
from vqcodec.errors import InputError, OutputError, UsageError

from . import streams
from .messages import STDIO
from .several import Failures


def read_input(source: Path, max_bytes: int = -1) -> bytes:
    """The bytes of a file, or of stdin for `-`; only the first `max_bytes` unless negative. Raises InputError."""
    if source == STDIO:
        stream = stdin_stream()
        data = stream.read(max_bytes)
        if not data:
            raise InputError("<stdin>: empty")
        return data
    if (url := remote.url_of(source)) is not None:
        return remote.read_bytes(url, *(() if max_bytes < 0 else (0, max_bytes)))
    try:
        with open(source, "rb") as file:
            return file.read(max_bytes)
    except IsADirectoryError:
        raise InputError(f"{source}: is a directory; use `vqcodec batch` for directories") from None
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


def stdin_stream() -> BinaryIO:
    """Binary stdin. Raises InputError if it is closed."""
    stream = streams.stdin()
    if stream is None:
        raise InputError("<stdin>: is closed")
    return stream


def check_source(source: Path) -> None:
    """Raise InputError, before any work, if `source` cannot be read."""
    if source == STDIO:
        stdin_stream()
    elif not _is_device(source):  # reading from a pipe would consume it
        read_input(source, 1)


def refuse_vqc(source: Path) -> None:
    """Raise InputError, before any work, if `source` is a .vqc file instead of a picture."""
    if source != STDIO and os.path.isfile(source) and read_input(source, len(MAGIC)) == MAGIC:
        hint = "`vqcodec truncate` makes it smaller, `vqcodec decode` a picture of it"
        raise InputError(f"{source}: is a .vqc file already; {hint}")


def require_vqc(source: Path) -> None:
    """Raise InputError, before any work, if `source` is a file of another format; empty and cut ones pass."""
    if source == STDIO or not os.path.isfile(source):
        return
    head = read_input(source, 16)
    if picture_format(head) is not None:
        raise InputError(f"{source}: {foreign(head)}")


def plan(
    sources: list[Path],
    output: str | None,
    suffix: str,
    force: bool,
    failures: Failures,
    check: Callable[[Path], None] | None = None,
) -> list[tuple[Path, Path]]:
    """(source, target) of each input that can be read and whose target can be written, all checked before any work.

    Without `output` the target is the source with `suffix` in its place; stdin goes to stdout. `output` may be a
    directory, which is made if it is missing: where it ends in a slash, or where there are several sources. The others
    are reported to `failures`. `check` raises the error of an input of the wrong type. Raises UsageError, OutputError,
    and the error of a single input.
    """
    if len(sources) > 1 and STDIO in sources:
        raise UsageError("'-' (stdin) must be the only input: name files, or pipe one picture")
    folder = _folder(output, len(sources) > 1)
    planned: dict[Path, Path] = {}
    for source in sources:
        with failures.of(source):
            check_source(source)
            if check is not None:
                check(source)
            planned[source] = _target(source, output, folder, suffix)
    _refuse_clashes(planned)
    if failures.json and STDIO in planned.values():
        raise UsageError("--json and the data cannot both go to stdout: name a file with -o")
    if folder is not None and planned:
        make_folder(folder)
    ready: list[tuple[Path, Path]] = []
    for source, target in planned.items():
        with failures.of(source):
            check_target(target, force, tuple(sources))
            ready.append((source, target))
    return ready


def _refuse_clashes(planned: dict[Path, Path]) -> None:
    """Raise UsageError if two inputs have one target."""
    taken: dict[str, Path] = {}
    for source, target in planned.items():
        other = taken.setdefault(os.path.realpath(target), source)
        if other != source:
            raise UsageError(f"{other} and {source} would both be written to {target}; convert one by one with -o")


def _folder(output: str | None, several: bool) -> Path | None:
    """The directory that `output` names, which may be missing; None if it names a file. Raises UsageError."""
    if output is None or (output == "-" and not several):
        return None
    if os.path.isdir(output) or output.endswith(os.sep):
        return Path(output)
    if not several:
        return None
    if os.path.exists(output) or Path(output).suffix or output == "-":
        raise UsageError(f"-o {output}: several inputs need a directory as output")
    return Path(output)


def _target(source: Path, output: str | None, folder: Path | None, suffix: str) -> Path:
    if folder is not None:
        return folder / ("stdin" + suffix if source == STDIO else source.with_suffix(suffix).name)
    if output is not None:
        return Path(output)
    if source == STDIO:
        return STDIO
    target = source.with_suffix(suffix)
    if target == source:
        hint = "" if suffix == ".vqc" else "; decode reads .vqc files, and if this is one:"
        raise InputError(f"{source}: is named {suffix} already{hint} name the output with -o")
    return target


def make_folder(folder: Path) -> None:
    """Make a directory and those above it, unless it is there; URLs need none. Raises OutputError."""
    if remote.url_of(folder) is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder}: a file exists where a directory is needed") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror or error}") from error


def check_target(target: Path, force: bool, sources: tuple[Path, ...] = ()) -> None:
    """Raise OutputError, before any work, if `target` cannot be written or is one of its `sources`."""
    if target == STDIO:
        streams.check_stdout()
        if sys.stdout.isatty() and not force:
            raise OutputError("stdout is a terminal; redirect it, or add -f to write binary data to it")
        return
    if (url := remote.url_of(target)) is not None:
        remote.check_new(url, force)
        return
    try:
        _check_file(target, force, sources)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def _check_file(target: Path, force: bool, sources: tuple[Path, ...]) -> None:
    if target.is_dir():
        raise OutputError(f"{target}: is a directory; name a file")
    for source in sources:
        if source != STDIO and target.exists() and source.exists() and target.samefile(source):
            raise OutputError(f"{target}: is the input itself; choose another output")
    if _is_device(target):
        return
    if os.path.lexists(target) and not force:
        raise OutputError(f"{target}: exists already; add -f to overwrite it")
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: not writable")


def times_of(source: Path) -> tuple[int, int] | None:
    """Times of access and modification of a file in nanoseconds; None for stdin and devices."""
    if source == STDIO or not os.path.isfile(source):
        return None
    stat = os.stat(source)
    return stat.st_atime_ns, stat.st_mtime_ns


def write_new(target: Path, data: bytes, force: bool = False, times: tuple[int, int] | None = None) -> None:
    """Write `data` to `target`, completely or not at all, or to stdout for `-`. Raises OutputError.

    `times` are the times of access and modification of a new file, in nanoseconds; files behind URLs have none.
    """
    check_target(target, force)
    if (url := remote.url_of(target)) is not None:
        remote.write_bytes(url, data, force)
        return
    draft = None
    try:
        if target == STDIO:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if _is_device(target):  # /dev/null or a pipe is never replaced
            target.write_bytes(data)
            return
        final = Path(os.path.realpath(target))  # a link stays: the file that it points to is replaced
        handle, draft = tempfile.mkstemp(prefix=f".{final.name[:40]}.", suffix=".part", dir=final.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, mode_of(final))
        if times is not None:
            os.utime(draft, ns=times)
        publish(draft, final, force)
    except BrokenPipeError:
        raise  # the reader has closed the pipe: not an error
    except OSError as error:
        name = "stdout" if target == STDIO else target
        raise OutputError(f"{name}: cannot be written: {error.strerror or error}") from error
    finally:
        if draft is not None and os.path.exists(draft):
            os.unlink(draft)


def publish(draft: str, target: Path, force: bool) -> None:
    """Rename the finished draft to `target`; without `force` never over a file that has appeared since the check."""
    if force:
        os.replace(draft, target)
        return
    try:
        os.link(draft, target)
    except FileExistsError:
        raise OutputError(f"{target}: exists already; add -f to overwrite it") from None
    except OSError:
        os.rename(draft, target)  # a file system without hard links


def _is_device(target: Path) -> bool:
    return os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target)


def mode_of(target: Path) -> int:
    """Permissions of a new `target`: those of the file that it replaces, else those of the umask."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


@cache
def _umask() -> int:
    """Umask of the process, read once: reading it clears it for a moment, also for other threads."""
    value = os.umask(0)
    os.umask(value)
    return value
