"""Standard streams that may be closed, full, a closed pipe, or of an encoding that lacks a character."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import BinaryIO

from vqcodec.errors import OutputError


class Failure:
    """The first error of writing to stderr; the command continues and ends with exit code 7."""

    def __init__(self) -> None:
        self.reason = ""


failure = Failure()


def prepare() -> None:
    """Open closed standard streams, so that no file gets their descriptor; escape characters that an encoding lacks."""
    failure.reason = ""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def stdin() -> BinaryIO | None:
    """Binary stdin; None if it is closed."""
    return None if sys.stdin is None else sys.stdin.buffer


def to_stderr(line: str) -> None:
    """Print a line on stderr; a failure does not stop the command."""
    if sys.stderr is None:  # `print` would take stdout instead
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _redirect_to_null(2)
    except OSError as error:
        failure.reason = failure.reason or f"stderr: cannot be written: {error.strerror or error}"
        _redirect_to_null(2)


def to_stdout(line: str) -> None:
    """Print a line on stdout. Raises OutputError, and BrokenPipeError if the reader has closed the pipe."""
    check_stdout()
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"stdout: cannot be written: {error.strerror or error}") from error


def check_stdout() -> None:
    """Raise OutputError if stdout is closed."""
    if sys.stdout is None:
        raise OutputError("stdout: is closed")


def finish() -> None:
    """Flush stdout. Raises OSError; BrokenPipeError if the reader has closed the pipe."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Discard unwritten output; Python would try to write it at exit and print an error."""
    _redirect_to_null(1)
    if failure.reason:
        _redirect_to_null(2)


def _redirect_to_null(number: int) -> None:
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)
