"""Number of processors that this process may use: by its affinity, and by the CPU quota of a container."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from .control_groups import groups


def usable_processors() -> int:
    """Processors of the affinity of this process, and no more than its quota at the first call; at least 1."""
    count = affinity()
    return min(count, _own_quota() or count)


def affinity() -> int:
    """Processors that the process may run on, whatever share of their time it gets; at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _own_quota() -> int | None:
    return quota()


def quota(proc: Path | None = None) -> int | None:
    """Processors whose time Linux's control groups grant to the process, rounded up, at least 1; None: no limit.

    The smallest limit among those of the process's group and the groups around it holds. A limit that cannot be read
    counts as no limit. `proc` is as in `control_groups.groups`.
    """
    limits = [limit for folder in groups("cpu", proc) for limit in _limit(folder)]
    return max(1, math.ceil(min(limits))) if limits else None


def _limit(folder: Path) -> list[float]:
    """Processors that a group may use, if it has a limit: version 2 of control groups, else version 1."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        if (folder / "cpu.max").exists():
            time, period = (folder / "cpu.max").read_text().split()  # microseconds; time may be "max"
        else:
            time, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(time) > 0:  # -1: no limit
            return [int(time) / int(period)]
    return []
