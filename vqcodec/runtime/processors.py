"""Number of processors that this process may use: by its affinity, and by the CPU quota of a container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath


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


def quota(proc: Path = Path("/proc/self")) -> int | None:
    """Processors whose time Linux's control groups grant to the process, rounded up, at least 1; None: no limit.

    The smallest limit among those of the process's group and the groups around it holds. A limit that cannot be read
    counts as no limit.

    Args:
        proc: folder with the files `cgroup` and `mountinfo` of the process.
    """
    limits: list[float] = []
    with suppress(OSError, ValueError):
        for folder, top in _groups(proc):
            while True:
                limits += _limit(folder)
                if folder == top:
                    break
                folder = folder.parent
    return max(1, math.ceil(min(limits))) if limits else None


def _groups(proc: Path) -> Iterator[tuple[Path, Path]]:
    """(folder of the process's group, folder of the outermost one in sight) of each hierarchy with CPU time."""
    paths = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = PurePosixPath(path)
    for line in (proc / "mountinfo").read_text().splitlines():
        place, _, source = line.partition(" - ")
        root, mounted = (_unescaped(field) for field in place.split()[3:5])
        kind, _, options = source.split(" ", 2)
        if kind not in paths or (kind == "cgroup" and "cpu" not in options.split()[-1].split(",")):
            continue
        if paths[kind].is_relative_to(root):  # else other groups are mounted there
            yield Path(mounted, paths[kind].relative_to(root)), Path(mounted)


def _unescaped(field: str) -> str:
    """A path of `mountinfo`, which has spaces and such as octal numbers."""
    return field.encode().decode("unicode_escape") if "\\" in field else field


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
