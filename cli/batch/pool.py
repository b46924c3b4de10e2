"""Conversion of many files, in this process or in several worker processes.

A worker process that dies, for example because the system is out of memory, costs the file it worked on and no other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker

from pebble import ProcessExpired, ProcessPool

from vqcodec.errors import LimitError

from .plan import Job
from .settings import Settings
from .work import Outcome, convert

WORKER_DIED = "its process died, perhaps because memory ran out; try a smaller -j"
CHECK_S = 1.0
"""Seconds between checks that the pool still works while no file finishes."""
GRACE_S = 5.0
"""Seconds that a worker without parent process has to remove its incomplete output."""


def run(
    jobs: Iterable[Job],
    settings: Settings,
    workers: int,
    threads: int,
    stop: Callable[[], bool],
    convert: Callable[[Job, Settings], Outcome] = convert,
) -> Generator[Outcome, None, None]:
    """Outcomes in order of completion.

    Args:
        jobs: files to convert, in the order in which they are started.
        settings: options of the command, the same for all files.
        workers: processes; 1 converts in this process.
        threads: CPU threads of each worker process.
        stop: once it returns True no further file is started, and those in work are finished.
        convert: conversion of one file, which a worker process must be able to import.

    Closing the iterator ends the worker processes.
    """
    if workers == 1:
        for job in jobs:
            if stop():
                return
            yield convert(job, settings)
        return
    todo = deque(jobs)
    while todo and not stop():  # a second time only after the pool broke: no worker could be started
        yield from _drain(todo, settings, workers, threads, stop, convert)


def _drain(
    todo: deque[Job],
    settings: Settings,
    workers: int,
    threads: int,
    stop: Callable[[], bool],
    convert: Callable[[Job, Settings], Outcome],
) -> Generator[Outcome, None, None]:
    """Convert until `todo` is empty, `stop` returns True or the pool is broken."""
    context = multiprocessing.get_context("spawn")
    if sys.platform != "win32":
        # Its start unblocks SIGINT, which would undo `_without_interrupts` for the workers that are started next.
        resource_tracker.ensure_running()
    pool = ProcessPool(workers, initializer=_start_worker, initargs=(threads,), context=context)
    running: dict[Future[Outcome], Job] = {}
    try:
        while True:
            while todo and len(running) < workers and not stop():
                with _without_interrupts():
                    scheduled = pool.schedule(_removing_drafts, (convert, todo[0], settings))
                running[scheduled] = todo.popleft()
            if not running:
                return
            done = wait(running, CHECK_S, FIRST_COMPLETED).done
            for future in done:
                outcome = _outcome(future, running.pop(future))
                if not (stop() and outcome.error == WORKER_DIED):
                    yield outcome
            if not done and not pool.active:
                break
    except RuntimeError:  # `schedule` refuses: the pool is broken
        pass
    finally:
        pool.stop()
        pool.join()
    if stop():  # a signal to the process group ended the workers too: their files were not converted, but did not fail
        return
    for future, job in running.items():
        yield _outcome(future, job) if future.done() else Outcome(job, WORKER_DIED, LimitError.exit_code)


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    try:
        return future.result()
    except (ProcessExpired, BrokenProcessPool, SystemExit):  # the last: SIGTERM from outside
        return Outcome(job, WORKER_DIED, LimitError.exit_code)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Threads and processes started inside never get SIGINT, which a terminal sends to every process.

    They inherit the blocked signal. One that arrives meanwhile is delivered to this thread afterwards.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _removing_drafts(convert: Callable[[Job, Settings], Outcome], job: Job, settings: Settings) -> Outcome:
    """Convert a file; SIGTERM raises SystemExit meanwhile, so that incomplete outputs are removed.

    Outside of a conversion SIGTERM ends a worker at once and without a traceback.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return convert(job, settings)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _start_worker(threads: int) -> None:
    """Prepare a worker process: it ends with the parent process and has so many threads."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """End this worker when its parent process was killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(143)
