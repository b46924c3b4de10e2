"""`--profile`: where the seconds of a command went, as a table on stderr."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from vqcodec.runtime.progress import INDICES, Part, observing

from . import streams

P = ParamSpec("P")
IMPORTED = time.perf_counter()
"""Time at which the command was imported; its process began shortly before."""
LONGEST_START_S = 60.0
"""Longest credible time between the start of the process and IMPORTED."""


def profiled(command: Callable[P, None]) -> Callable[P, None]:
    """Decorator of a command with the keyword `profile`: prints the table at the end if it is True."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if not kwargs["profile"]:
            command(*args, **kwargs)
            return
        clock = PartClock(process_start())
        with observing(clock):
            command(*args, **kwargs)
        for line in clock.table():
            streams.to_stderr(line)

    return run


class PartClock:
    """Observer of the seconds of each part.

    Seconds are wall time and add up to the whole: where several threads work at once, each moment is divided equally
    among the parts they are in. Time outside of all parts is "other".

    Args:
        start: time of `time.perf_counter` at which the process began; the time up to now is start-up.
    """

    def __init__(self, start: float) -> None:
        self.start = start
        self.seconds = dict.fromkeys(Part, 0.0)
        self.amounts = dict.fromkeys(Part, 0.0)
        self._running: dict[int, list[Part]] = {}
        """Identity of a thread -> its parts, the innermost last."""
        self._counted = time.perf_counter()
        """Time up to which `seconds` are complete."""
        self._lock = threading.Lock()
        self.seconds[Part.START_UP] = self._counted - start

    def expect(self, part: Part, amount: float) -> None:
        """Do nothing: the table holds what was done."""

    def begin(self, part: Part) -> None:
        """Count the time up to now, then the part."""
        with self._lock:
            self._count()
            self._running.setdefault(threading.get_ident(), []).append(part)

    def end(self, part: Part, amount: float) -> None:
        """Count the part up to now."""
        with self._lock:
            self._count()
            parts = self._running[threading.get_ident()]
            parts.pop()
            if not parts:
                del self._running[threading.get_ident()]
            self.amounts[part] += amount

    def _count(self) -> None:
        now = time.perf_counter()
        for parts in self._running.values():
            self.seconds[parts[-1]] += (now - self._counted) / len(self._running)
        self._counted = now

    def table(self) -> list[str]:
        """Lines: name, seconds, share, amount and rate of each part that took place, and the whole."""
        whole = time.perf_counter() - self.start
        lines = [f"{'part':<22}{'seconds':>9}{'share':>8}  work"]
        for part, seconds in self.seconds.items():
            if seconds > 0:
                lines.append(_line(part, seconds, whole, _work(part, self.amounts[part], seconds)))
        lines.append(_line("other", max(0.0, whole - sum(self.seconds.values())), whole))
        times = os.times()
        lines.append(_line("total", whole, whole, f"{times.user + times.system:.2f} s of processor time"))
        return lines


def _line(name: str, seconds: float, whole: float, work: str = "") -> str:
    return f"{name:<22}{seconds:>9.3f}{100 * seconds / whole:>6.1f} %  {work}".rstrip()


def _work(part: Part, amount: float, seconds: float) -> str:
    """Text such as "3.69 MP, 2.1 MP/s"; empty for parts without an amount."""
    unit = "M indices" if part in INDICES else "MB" if part is Part.WEIGHTS else "MP"
    return f"{amount / 1e6:.3g} {unit}, {amount / 1e6 / max(seconds, 1e-6):.3g} {unit}/s" if amount else ""


def process_start() -> float:
    """Time of `time.perf_counter` at which this process began; IMPORTED where the system does not tell."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError, IndexError):  # systems other than Linux
        return IMPORTED
    began = time.perf_counter() - age
    return began if 0 <= IMPORTED - began <= LONGEST_START_S else IMPORTED
