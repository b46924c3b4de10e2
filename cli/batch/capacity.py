"""Processes and threads of a batch, by the cores and the memory that this process may use."""

from __future__ import annotations

from dataclasses import dataclass

from vqcodec.runtime.memory import free_memory
from vqcodec.runtime.processors import usable_processors

WORKER_BYTES = 3 * 2**28
"""Memory of a worker process with its model, while it converts pictures of a few megapixels."""


@dataclass(frozen=True)
class Workforce:
    """Worker processes, and CPU threads of each."""

    processes: int
    threads: int
    automatic: bool = False
    """Processes are started only if the work is long enough to repay their start."""


def workforce(files: int, jobs: int, threads: int, device: str) -> Workforce:
    """Workforce for a number of files.

    One thread in each of as many processes as there are cores is fastest, and never waits for other threads on a busy
    machine. A GPU is used by one process, which reads and writes files meanwhile.

    Args:
        files: files to convert.
        jobs: processes that the caller requests; 0: automatic.
        threads: threads that the caller requests; 0: automatic.
        device: device of the networks.
    """
    usable = usable_processors()
    wanted = jobs
    if not jobs:
        wanted = 1 if device != "cpu" else min(usable, max(1, free_memory() // WORKER_BYTES))
    processes = max(1, min(wanted, files))
    return Workforce(processes, threads or max(1, usable // processes), automatic=not jobs)
