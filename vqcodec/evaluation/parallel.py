"""Pictures of an evaluation, one after another in this process or several at a time in worker processes.

A worker that dies, for example because memory ran out, costs the picture it worked on and no other.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Generic, Protocol, TypeVar

from .job import Job

WORKER_DIED = "its process died, perhaps because memory ran out; try a smaller -j"
Result = TypeVar("Result")
Made = TypeVar("Made", covariant=True)
Advance = Callable[[str, float], None]
"""(name of a picture, share of its work that is done)."""


class Work(Protocol[Made]):
    """Work on one picture. Worker processes must be able to import it."""

    def __call__(self, job: Job, advance: Callable[[float], None]) -> Made:
        """The result; `advance` gets the share of the work done, 0..1. Raises nothing that belongs to the picture."""
        ...


def run(
    jobs: Iterator[Job],
    work: Work[Result],
    died: Callable[[Job, str], Result],
    workers: int,
    threads: int,
    advance: Advance = lambda name, share: None,
) -> Iterator[Result]:
    """Results in order of completion.

    Args:
        jobs: pictures; the next is taken when a worker is free.
        work: done with each.
        died: the result of a picture whose worker died, from the job and a line that says so.
        workers: processes; 1 works in this process.
        threads: CPU threads of each worker process.
        advance: called with the progress of the pictures in work.

    Closing the iterator ends the worker processes.
    """
    if workers == 1:
        for job in jobs:
            yield work(job, functools.partial(advance, job.name))
        return
    idle = [Worker(work, threads) for _ in range(workers)]
    busy: dict[Connection, Worker[Result]] = {}
    ended = False
    try:
        while True:
            while idle and not ended:
                new = next(jobs, None)
                if new is None:
                    ended = True
                else:
                    worker = idle.pop()
                    worker.give(new)
                    busy[worker.end] = worker
            if not busy:
                return
            for end in wait(list(busy)):
                worker = busy[end]  # type: ignore[index]
                job = worker.job
                try:
                    share, result = worker.end.recv()
                except (EOFError, OSError):
                    result = died(job, WORKER_DIED)
                    worker.stop()
                    worker = Worker(work, threads)
                else:
                    if result is None:
                        advance(job.name, share)
                        continue
                del busy[end]  # type: ignore[arg-type]
                idle.append(worker)
                yield result
    finally:
        for worker in [*idle, *busy.values()]:
            worker.stop()


class Worker(Generic[Result]):
    """A process that does `work`, with `threads` CPU threads, on one job at a time."""

    job: Job

    def __init__(self, work: Work[Result], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, threads, other), daemon=True)
        self._process.start()
        other.close()  # the end of the process is the end of the pipe

    def give(self, job: Job) -> None:
        """Start to work on `job`. A process that is dead already shows at the next read."""
        self.job = job
        try:
            self.end.send(job)
        except OSError:
            return

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self.end.close()


def _serve(work: Work[Result], threads: int, end: Connection) -> None:
    """In a worker process: jobs from `end`, to which (share done, None) and (1, result) are sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent ends its workers
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            job = end.recv()
            result = work(job, lambda share: end.send((share, None)))
            end.send((1.0, result))
        except (EOFError, OSError):  # the parent has ended
            return
