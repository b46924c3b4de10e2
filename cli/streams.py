"""Standard streams as they can be: closed, full, read by somebody who leaves, or unable to hold a name.

Differs from output.py, which decides what goes to them.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from vqcodec.errors import OutputError


class Failure:
    """The first error of writing messages to stderr; work goes on, and the command ends with exit code 7."""

    def __init__(self) -> None:
        self.reason = ""


failure = Failure()


def prepare() -> None:
    """Take the numbers 0, 1 and 2 where they are free, so that no file gets one; spell out what an encoding lacks."""
    failure.reason = ""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def stdin() -> Any:
    """Binary stdin, None if it is closed."""
    return None if sys.stdin is None else sys.stdin.buffer


def to_stderr(line: str) -> None:
    """Print a line for people; a stderr that takes none is no reason to stop."""
    if sys.stderr is None:  # `print` would take stdout instead
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _into_nothing(2)
    except OSError as error:
        failure.reason = failure.reason or f"stderr: cannot be written: {error.strerror or error}"
        _into_nothing(2)


def to_stdout(line: str) -> None:
    """Print a line that was asked for. Raises OutputError, and BrokenPipeError if nobody reads any more."""
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
    """Write what is left. Raises OSError, of which BrokenPipeError says that nobody reads any more."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Let go of what could not be written, or Python would try again at its end and complain."""
    _into_nothing(1)
    if failure.reason:
        _into_nothing(2)


def _into_nothing(number: int) -> None:
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)
