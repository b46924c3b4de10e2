"""Errors that a user can meet, each with the exit code of the command.

VqcError                 1  internal error
├── UsageError           2  option or argument out of range, or in conflict with another one
├── InputError           3  input unreadable, or neither an image nor a .vqc file
├── FormatError          4  corrupt or truncated .vqc file
├── ModelError           5  model missing, damaged, or another one than the file needs
├── LimitError           6  limit on pixels, memory or metadata exceeded
├── OutputError          7  output exists or cannot be written
├── TargetError          8  requested size or quality cannot be reached
├── LossError            9  a property would be converted or left out, and --strict forbids it
└── BatchError          10  batch finished, with failures

A message states in one line what is wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Text such as "; did you mean photo?" for a name that is close to a known one; else empty."""
    near = get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def is_out_of_memory(error: BaseException) -> bool:
    """True for the out-of-memory errors of Python, of torch on an accelerator and of torch on the CPU."""
    return type(error).__name__ in ("MemoryError", "OutOfMemoryError") or "t allocate memory" in str(error)


class VqcError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the command's exit status."""

    exit_code = 1


class UsageError(VqcError, ValueError):
    """An argument is out of its range or contradicts another one."""

    exit_code = 2


class InputError(VqcError):
    """The input cannot be read, or is neither an image nor a .vqc file."""

    exit_code = 3


class FormatError(VqcError):
    """A .vqc file is corrupt or truncated; the message names the field and its byte offset."""

    exit_code = 4


class ModelError(VqcError):
    """A model is missing, damaged, or not the one that coded the file."""

    exit_code = 5


class LimitError(VqcError):
    """A limit that protects memory was exceeded; the message names the option that raises it."""

    exit_code = 6


class OutputError(VqcError):
    """The output exists already or cannot be written."""

    exit_code = 7


class TargetError(VqcError):
    """No file of this model meets the requested size or quality."""

    exit_code = 8


class LossError(VqcError):
    """A property of a picture would be converted or left out, and `--strict` forbids it."""

    exit_code = 9


class BatchError(VqcError):
    """A batch processed all its files, and at least one of them failed."""

    exit_code = 10


class LossWarning(UserWarning):
    """A property of a picture was converted or left out; the command prints the same line."""
