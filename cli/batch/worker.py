"""A worker process of a batch, and its side of the connection."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from vqcodec.runtime.backend import leave_out_converter
from vqcodec.runtime.threads import set_thread_count

from .outcome import Outcome
from .pipeline import Converter
from .plan import Job
from .recovery import Lock
from .settings import Settings

GRACE_S = 5.0
"""Seconds that a process gets to end by itself."""
READY, STOP = "ready", "stop"
"""First message of a worker; message to it that drops the files whose model run has not begun."""


class Worker:
    """A worker process, and the files that it holds."""

    def __init__(self, settings: Settings, threads: int, lock: Lock | None, convert: Converter) -> None:
        context = multiprocessing.get_context("spawn")
        if sys.platform != "win32":
            # Its start unblocks SIGINT, which would undo `_without_interrupts` for the workers that are started next.
            resource_tracker.ensure_running()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, settings, threads, lock, convert), daemon=True)
        with _without_interrupts():
            self.process.start()
        theirs.close()
        self.jobs: list[Job] = []
        self.started = False

    def is_ready(self) -> bool:
        """True once the process has started, that is, has loaded its libraries."""
        if not self.started and self.connection.poll():
            with suppress(EOFError):
                self.receive()
        return self.started

    def give(self, job: Job) -> None:
        """Send a file to convert."""
        self.jobs.append(job)
        with suppress(OSError):  # a dead worker: `receive` raises
            self.connection.send(job)

    def stop(self) -> None:
        """Drop the files whose model run has not begun; the worker ends after the others."""
        with suppress(OSError):
            self.connection.send(STOP)

    def receive(self) -> Outcome | None:
        """The next outcome; None for the message that the worker has started. Raises EOFError if the process ended."""
        try:
            message: Outcome | str = self.connection.recv()
        except OSError as error:
            raise EOFError from error
        if isinstance(message, str):
            self.started = True
            return None
        self.jobs.remove(message.job)
        return message

    def request_end(self) -> None:
        """Tell the process to end: at once if it holds files."""
        if self.jobs:
            self.process.terminate()
        self.connection.close()

    def join(self) -> None:
        """Wait until the process has ended, after `request_end`."""
        self.process.join(GRACE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


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


def _serve(connection: Connection, settings: Settings, threads: int, lock: Lock | None, convert: Converter) -> None:
    """Worker process: convert the files that arrive until the connection is closed.

    `lock` is held until the process ends. A process that is killed leaves drafts in PARTS, which the batch deletes.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    leave_out_converter()
    set_thread_count(threads)
    from vqcodec import api  # noqa: F401 - a worker is ready when it has loaded its libraries

    arrived: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_receive, args=(connection, arrived, stopped), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent process needs this one no more, or was killed
        connection.send(READY)
        for outcome in convert(lambda wait: _taken(arrived, wait), settings, stopped.is_set):
            connection.send(outcome)


def _receive(connection: Connection, arrived: queue.SimpleQueue[Job | None], stopped: threading.Event) -> None:
    """Put the jobs of the connection into `arrived`, and None at its end."""
    with suppress(EOFError, OSError):
        while isinstance(message := connection.recv(), Job):
            arrived.put(message)
    stopped.set()
    arrived.put(None)


def _taken(arrived: queue.SimpleQueue[Job | None], wait: bool) -> Job | None:
    try:
        return arrived.get(block=wait)
    except queue.Empty:
        return None


def _end_with_parent() -> None:
    """End this worker when its parent process was killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(143)
