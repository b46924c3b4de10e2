"""Number of threads that the codec uses on the CPU."""

from __future__ import annotations

import os
import sys

_count: int | None = None


def set_thread_count(count: int | None) -> None:
    """Use `count` threads, 1 or more; None: as many as the process may use."""
    global _count
    _count = count
    if count is not None:
        os.environ["OMP_NUM_THREADS"] = str(count)  # for torch, and for child processes
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(count)


def thread_count() -> int:
    """Threads in use: those set, else OMP_NUM_THREADS, else one for each processor that the process may use."""
    if _count is not None:
        return _count
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
