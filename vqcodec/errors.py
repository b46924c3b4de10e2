"""Every error a user can meet, each with the exit code the command ends with.

VqcError                 1  internal error
├── UsageError           2  an option or argument that cannot be meant
├── InputError           3  input unreadable, or not what it should be
├── FormatError          4  corrupt or truncated .vqc
├── ModelError           5  model missing, damaged or not the one the file needs
├── LimitError           6  a limit on pixels, memory or metadata was hit
├── OutputError          7  output exists or cannot be written
├── TargetError          8  the size or quality asked for cannot be reached
├── SkippedError         9  nothing was done, on purpose
└── BatchError          10  a batch finished, with failures

A message says what is wrong, where, and what to do next, in one line.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own kind, that of torch on an accelerator, and that of torch on the CPU: to be told as a LimitError."""
    return type(error).__name__ in ("MemoryError", "OutOfMemoryError") or "t allocate memory" in str(error)


class VqcError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the command's exit status."""

    exit_code = 1


class UsageError(VqcError, ValueError):
    """An argument is out of its range or contradicts another one."""

    exit_code = 2


class InputError(VqcError):
    """The input cannot be read, or is not an image or .vqc file."""

    exit_code = 3


class FormatError(VqcError):
    """A .vqc file is corrupt or cut; the message names field and offset."""

    exit_code = 4


class ModelError(VqcError):
    """A model is missing, damaged, or not the one that made the file."""

    exit_code = 5


class LimitError(VqcError):
    """A limit that protects memory was exceeded; the message names the option that raises it."""

    exit_code = 6


class OutputError(VqcError):
    """The output exists already or cannot be written."""

    exit_code = 7


class TargetError(VqcError):
    """No file of this model meets the size or quality asked for."""

    exit_code = 8


class SkippedError(VqcError):
    """Nothing was written because there was nothing to do."""

    exit_code = 9


class BatchError(VqcError):
    """A batch went through all its files and at least one of them failed."""

    exit_code = 10


class LossWarning(UserWarning):
    """Something of a picture was converted or left out; the command prints the same line as a warning."""
