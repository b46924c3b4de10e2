"""Reading inputs and writing outputs: `-` is stdin or stdout, files appear whole or not at all.

Also what is printed: lines for people on stderr, JSON on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqcodec.container import MAGIC
from vqcodec.errors import InputError, OutputError, UsageError, VqcError

from . import streams

STDIO = Path("-")


def read_input(source: Path, most: int = -1) -> bytes:
    """All bytes of a file, or of stdin for `-`; at most the first `most` if that is not negative. Raises InputError."""
    if source == STDIO:
        stream = stdin_stream()
        data = stream.read(most)
        if not data:
            raise InputError("<stdin>: empty")
        return data
    try:
        with open(source, "rb") as file:
            return file.read(most)
    except IsADirectoryError:
        raise InputError(f"{source}: is a directory; use `vqcodec batch` for directories") from None
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


def stdin_stream() -> Any:
    """Binary stdin. Raises InputError if it is closed."""
    stream = streams.stdin()
    if stream is None:
        raise InputError("<stdin>: is closed")
    return stream


def check_source(source: Path) -> None:
    """Raise InputError now, before any work, if `source` could not be read later."""
    if source == STDIO:
        stdin_stream()
    elif not _is_device(source):  # what is read from a pipe is gone
        read_input(source, 1)


def refuse_vqc(sources: list[Path]) -> None:
    """Raise InputError now, before any work, for a .vqc file where a picture is needed."""
    for source in sources:
        if source != STDIO and os.path.isfile(source) and read_input(source, len(MAGIC)) == MAGIC:
            raise InputError(f"{source}: is a .vqc file already; `vqcodec truncate` makes it smaller, "
                             "`vqcodec decode` a picture of it")  # fmt: skip


def plan(sources: list[Path], output: str | None, suffix: str, force: bool) -> list[tuple[Path, Path]]:
    """(source, target) of each input, everything checked before any work.

    Without `output` the target is the source with the other suffix, beside it; stdin goes to stdout. `output` may be
    a directory, and has to be one for several sources. Raises InputError, OutputError, UsageError.
    """
    if len(sources) > 1 and STDIO in sources:
        raise UsageError("'-' (stdin) stands alone: name files, or pipe one picture")
    folder = None
    if output is not None and output != "-" and (os.path.isdir(output) or output.endswith(os.sep)):
        folder = Path(output)
        if not folder.is_dir():
            raise OutputError(f"{output}: no such directory")
    if len(sources) > 1 and output is not None and folder is None:
        raise UsageError(f"-o {output}: several inputs need an existing directory there")
    planned: dict[Path, Path] = {}
    for source in sources:
        check_source(source)
        if folder is not None:
            target = folder / ("stdin" + suffix if source == STDIO else source.with_suffix(suffix).name)
        elif output is not None:
            target = Path(output)
        else:
            target = STDIO if source == STDIO else source.with_suffix(suffix)
            if target == source and target != STDIO:
                known = "" if suffix == ".vqc" else "; decode reads .vqc files, and if this is one:"
                raise InputError(f"{source}: is named {suffix} already{known} name the output with -o")
        for other, taken in planned.items():
            if os.path.realpath(taken) == os.path.realpath(target):
                raise UsageError(f"{other} and {source} would both be written to {target}; convert one by one with -o")
        planned[source] = target
    for target in planned.values():
        check_target(target, force, tuple(sources))
    return list(planned.items())


def check_target(target: Path, force: bool, sources: tuple[Path, ...] = ()) -> None:
    """Raise OutputError now, before any work, if `target` could not be written later or is one of its `sources`."""
    if target == STDIO:
        streams.check_stdout()
        if sys.stdout.isatty() and not force:
            raise OutputError("stdout is a terminal; redirect it, or add -f to write binary data to it")
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
    """Times of access and of change of a file, nanoseconds; None for stdin and what is no file."""
    if source == STDIO or not os.path.isfile(source):
        return None
    found = os.stat(source)
    return found.st_atime_ns, found.st_mtime_ns


def write_new(target: Path, data: bytes, force: bool = False, times: tuple[int, int] | None = None) -> None:
    """Write `data` to `target`, whole or not at all, or to stdout for `-`. Raises OutputError and leaves no draft.

    `times` of access and of change, nanoseconds, become those of a new file.
    """
    check_target(target, force)
    draft = None
    try:
        if target == STDIO:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if _is_device(target):  # /dev/null or a pipe is written to, never replaced
            target.write_bytes(data)
            return
        final = Path(os.path.realpath(target))  # a link stays one: what it points to is replaced
        handle, draft = tempfile.mkstemp(prefix=f".{final.name[:40]}.", suffix=".part", dir=final.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, _mode(final))
        if times is not None:
            os.utime(draft, ns=times)
        _publish(draft, final, force)
    except BrokenPipeError:
        raise  # whoever read has enough: nothing to complain about
    except OSError as error:
        name = "stdout" if target == STDIO else target
        raise OutputError(f"{name}: cannot be written: {error.strerror or error}") from error
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


def _is_device(target: Path) -> bool:
    return os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target)


def _mode(target: Path) -> int:
    """Permissions for a new `target`: those of the file that it replaces, else what the umask allows."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Errors raised inside begin with the name of `source`, unless they do already; class and exit code stay."""
    name = "<stdin>" if source == STDIO else str(source)
    try:
        yield
    except VqcError as error:
        if str(error).startswith(f"{name}:"):
            raise
        raise type(error)(f"{name}: {error}") from error


def clean(text: str) -> str:
    """`text` without anything that a terminal would obey: control characters are spelled out."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c)[0] == "C" else c for c in text)


def say(message: str) -> None:
    """One line for people, on stderr."""
    streams.to_stderr(clean(message))


def warn(source: Path, warnings: tuple[str, ...]) -> None:
    """One line on stderr for each of the `warnings` about `source`."""
    for text in warnings:
        say(f"warning: {'<stdin>' if source == STDIO else source}: {text}")


@contextmanager
def progress(verb: str, quiet: bool, transient: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, and the function of (done, in all) that advances it.

    No bar if `quiet` or if stderr is not a terminal; a `transient` one disappears at the end.
    """
    from rich.console import Console
    from rich.progress import Progress

    hidden = quiet or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=transient, disable=hidden) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_line(text: str) -> None:
    """One line for people on stdout, which asked for it."""
    streams.to_stdout(clean(text))


def print_json(record: dict[str, Any]) -> None:
    """One JSON object on a line of stdout."""
    streams.to_stdout(json.dumps(record))
