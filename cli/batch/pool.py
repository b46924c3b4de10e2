"""Conversion of many files, in this process or in several worker processes.

Each worker gets a few files ahead, so that it reads and writes while its model runs. A worker process that dies, for
example because memory ran out, costs the file that it worked on and no other: the files that it held are converted
again one at a time, and one that ends a process by itself fails.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from multiprocessing.connection import wait

from vqcodec.errors import LimitError
from vqcodec.runtime.threads import set_thread_count

from .capacity import Workforce
from .outcome import Outcome
from .pipeline import Converter, pipeline
from .plan import Job
from .recovery import Lock
from .settings import Settings
from .worker import Worker

WORKER_DIED = "its process died, perhaps because memory ran out; try a smaller -j"
CHECK_S = 1.0
"""Seconds between checks of `stop` while no file finishes."""
HELD = 4
"""Files that a worker holds at most: one whose model runs, others that are read or written."""
MAX_FAILED_STARTS = 3
"""Workers that may end while they start before the batch is given up."""
WORTH_S = 8.0
"""Estimated seconds of remaining work from which automatic worker processes are started: a start takes 2 to 4 s."""


def run(
    jobs: Iterable[Job],
    settings: Settings,
    force: Workforce,
    stop: Callable[[], bool],
    lock: Lock | None = None,
    convert: Converter = pipeline,
) -> Generator[Outcome, None, None]:
    """Outcomes in order of completion.

    Args:
        jobs: files to convert, in the order in which they are started.
        settings: options of the command, the same for all files.
        force: processes and threads; one process is this one. An automatic workforce begins in this process, starts
            the others if the work is long enough, and continues here until one of them is ready.
        stop: once it returns True no further file is started, and those whose model runs are finished.
        lock: lock of DST, which the worker processes hold too.
        convert: conversion of the files that a process takes.

    Closing the iterator ends the worker processes. Raises LimitError if no worker process can be started.
    """
    todo = deque(jobs)
    if force.automatic:
        set_thread_count(force.threads)
    if force.processes == 1:
        yield from convert(lambda _: _next(todo), settings, stop)
        return
    with closing(_Pool(todo, settings, force, stop, lock, convert)) as pool:
        if force.automatic:
            yield from _begin_here(todo, settings, stop, convert, pool)
        if todo and not stop():
            yield from pool.outcomes()


def _begin_here(
    todo: deque[Job], settings: Settings, stop: Callable[[], bool], convert: Converter, pool: _Pool
) -> Generator[Outcome, None, None]:
    """Convert in this process until the worker processes, which are started if that pays, are ready."""
    start, here = 0.0, convert(lambda _: None if pool.ready else _next(todo), settings, stop)
    for done, outcome in enumerate(here):
        yield outcome
        if not done:  # the first file took the time of loading the model too
            start = time.perf_counter()
            continue
        if not pool.workers and (time.perf_counter() - start) / done * len(todo) > WORTH_S:
            pool.start()


def _next(todo: deque[Job]) -> Job | None:
    return todo.popleft() if todo else None


class _Pool:
    """Worker processes that share the jobs of `todo`."""

    def __init__(
        self,
        todo: deque[Job],
        settings: Settings,
        force: Workforce,
        stop: Callable[[], bool],
        lock: Lock | None,
        convert: Converter,
    ) -> None:
        self.todo, self.stop = todo, stop
        self._n_workers = force.processes
        self._new: Callable[[], Worker] = lambda: Worker(settings, force.threads, lock, convert)
        self.workers: list[Worker] = []
        self._suspects: set[Job] = set()
        """Files that a dead worker held; each is converted by a worker that holds no other."""
        self._failed_starts = 0

    def start(self) -> None:
        """Start the worker processes, without waiting for them."""
        while len(self.workers) < self._n_workers:
            self.workers.append(self._new())

    @property
    def ready(self) -> bool:
        """True if a worker can convert at once."""
        return any(worker.is_ready() for worker in self.workers)

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Convert until `todo` is empty or `stop` returns True."""
        self.start()
        stopped = False
        while self.workers:
            if self.stop() and not stopped:
                stopped = True
                for worker in self.workers:
                    worker.stop()
            if not stopped:
                self._assign()
            if not any(worker.jobs for worker in self.workers):
                return
            # A worker without jobs has nothing to say, except that it is ready or has died.
            ready = wait([worker.connection for worker in self.workers], CHECK_S)
            for worker in [worker for worker in self.workers if worker.connection in ready]:
                try:
                    outcome = worker.receive()
                except EOFError:
                    yield from self._bury(worker, stopped)
                else:
                    if outcome is not None:
                        yield outcome

    def _assign(self) -> None:
        """Give files to the workers, first one to each; a suspect to a worker without any."""
        held = HELD if len(self.todo) >= HELD * len(self.workers) else 1
        for count in range(held):
            for worker in self.workers:
                if self.todo and len(worker.jobs) == count and self._may_hold(worker, self.todo[0]):
                    worker.give(self.todo.popleft())

    def _may_hold(self, worker: Worker, job: Job) -> bool:
        """False if a suspect and another file would be in one process."""
        return not worker.jobs or self._suspects.isdisjoint((job, *worker.jobs))

    def _bury(self, worker: Worker, stopped: bool) -> Iterator[Outcome]:
        """Replace a dead worker. A signal to the process group ends workers too: then no file has failed."""
        self.workers.remove(worker)
        worker.request_end()
        worker.join()
        if stopped or self.stop():
            return
        if not worker.started:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise LimitError("worker processes end while they start, perhaps for want of memory; try a smaller -j")
            self.todo.extendleft(reversed(worker.jobs))
        elif len(worker.jobs) == 1:
            yield Outcome(worker.jobs[0], WORKER_DIED, LimitError.exit_code)
        else:
            self._suspects.update(worker.jobs)
            self.todo.extendleft(reversed(worker.jobs))
        self.start()

    def close(self) -> None:
        """End the worker processes, at once if they still hold files."""
        for worker in self.workers:
            worker.request_end()
        for worker in self.workers:
            worker.join()
        self.workers.clear()
