"""Number of threads that the codec uses on the CPU."""

from __future__ import annotations

import os
import sys

from .processors import affinity, usable_processors

VARIABLE = "OMP_NUM_THREADS"
"""Environment variable of the number, for torch and for child processes."""

_count: int | None = None
_stated: str | None = None
"""Value of VARIABLE before a number was set."""


def prepare() -> None:
    """State the number of threads for torch where a quota allows fewer than it would start; before torch is loaded."""
    if VARIABLE not in os.environ and (usable := usable_processors()) < affinity():
        os.environ[VARIABLE] = str(usable)


def set_thread_count(count: int | None) -> None:
    """Use `count` threads, 1 or more; None: as many as before any number was set."""
    global _count, _stated
    if _count is None:
        _stated = os.environ.get(VARIABLE)
    _count = count
    if count is not None:
        os.environ[VARIABLE] = str(count)
    elif _stated is not None:
        os.environ[VARIABLE] = _stated
    else:
        os.environ.pop(VARIABLE, None)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(thread_count())


def thread_count() -> int:
    """Threads in use: those set, else OMP_NUM_THREADS, else one for each processor that the process may use."""
    if _count is not None:
        return _count
    stated = os.environ.get(VARIABLE, "").partition(",")[0].strip()  # a list has a number for each level of nesting
    if stated.isdecimal() and int(stated):
        return int(stated)
    return usable_processors()
