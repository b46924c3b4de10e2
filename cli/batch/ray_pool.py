"""Conversion of many files as tasks of a Ray cluster; the manifest stays with the command.

A task converts some files, so that it takes about TASK_S seconds. Ray repeats a task whose worker process or machine
has died; files that the first attempt has finished are not converted again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from vqcodec.errors import LimitError, ModelError, UsageError, VqcError
from vqcodec.models.registry import entries
from vqcodec.runtime.threads import set_thread_count

from .checks import check
from .outcome import Outcome
from .pipeline import pipeline
from .plan import Job
from .recovery import finished_before
from .settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

TASK_S = 2.0
"""Seconds that a task should take: long against Ray's share of a task, about 1 ms, and short for a stop."""
MAX_FILES = 256
"""Files of a task at most."""
RETRIES = 3
"""Times that Ray repeats a task whose worker process died."""
AHEAD = 2
"""Tasks for each CPU of the cluster, those in work included."""
CHECK_S = 1.0
"""Seconds between checks of `stop` while no task ends."""
WORKER_DIED = f"its worker process died {RETRIES + 1} times, perhaps because memory ran out"
LOCAL: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 2**27}
"""Options of a cluster that is started here; tasks exchange file names only."""
PASSED_ON = ("VQCODEC_MODELS",)
"""Environment variables that the tasks get from the command."""


def run(
    jobs: Iterable[Job],
    settings: Settings,
    address: str,
    max_tasks: int,
    threads: int,
    stop: Callable[[], bool],
) -> Generator[Outcome, None, None]:
    """Outcomes in order of completion.

    Args:
        jobs: files to convert, in the order in which they are started.
        settings: options of the command; SRC, DST and the model must be the same on every machine of the cluster.
        address: address of the cluster, "auto" for the one of this machine, or "local" to start one here.
        max_tasks: tasks at a time; 0: as many as the cluster has CPUs.
        threads: CPU threads of a task, each of which occupies a CPU of the cluster.
        stop: once it returns True no further task is started.

    Raises UsageError without Ray or without a cluster at `address`.
    """
    ray = _import_ray()
    with _stdout_kept_clean(), _connected(ray, address):
        task = ray.remote(_convert).options(num_cpus=threads, max_retries=RETRIES)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        shared = ray.put((_absolute(settings), environment, threads))
        chunks = _Chunks(jobs)
        running: dict[Any, list[Job]] = {}
        while True:
            limit = AHEAD * (max_tasks or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads))
            while len(running) < limit and not stop() and (chunk := chunks.next()):
                running[task.remote(chunk, shared)] = chunk
            if not running:
                return
            for done in ray.wait(list(running), timeout=CHECK_S)[0]:
                yield from _results(ray, done, running.pop(done), chunks)


class _Chunks:
    """Jobs in chunks, one for each task."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._todo, self._alone = deque(jobs), deque[Job]()
        self._files = 1

    def next(self) -> list[Job]:
        """Jobs of the next task; empty after the last."""
        if self._alone:
            return [self._alone.popleft()]
        return [self._todo.popleft() for _ in range(min(self._files, len(self._todo)))]

    def learn(self, outcomes: list[Outcome]) -> None:
        """Set the number of files of the next tasks by the time that those of a task took."""
        seconds = sum(outcome.seconds for outcome in outcomes) / len(outcomes)
        self._files = max(1, min(MAX_FILES, 2 * self._files, round(TASK_S / max(seconds, 1e-4))))

    def separate(self, jobs: list[Job]) -> None:
        """Give each of `jobs`, whose task has failed, a task of its own."""
        self._alone.extend(jobs)


def _results(ray: ModuleType, done: Any, jobs: list[Job], chunks: _Chunks) -> Iterator[Outcome]:
    """Outcomes of a task that has ended; of one whose worker died each time, the file that is alone in it fails."""
    try:
        outcomes: list[Outcome] = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        yield from (Outcome(job, " ".join(str(error.cause).split()), VqcError.exit_code) for job in jobs)
    except ray.exceptions.RayError:
        if len(jobs) > 1:
            chunks.separate(jobs)
        else:
            yield Outcome(jobs[0], WORKER_DIED, LimitError.exit_code)
    else:
        chunks.learn(outcomes)
        yield from outcomes


def _convert(jobs: list[Job], shared: tuple[Settings, Mapping[str, str], int]) -> list[Outcome]:
    """Task: outcomes of `jobs`, of which an earlier attempt may have finished some."""
    settings, environment, threads = shared
    os.environ.update(environment)
    set_thread_count(threads)
    _check_model(settings)
    found = finished_before(settings.dst, jobs, settings.identity)
    todo = deque(job for job in jobs if job not in found)
    made = {one.job: one for one in pipeline(lambda _: todo.popleft() if todo else None, settings, lambda: False)}
    return [_outcome(job, found[job]) if job in found else made[job] for job in jobs]


def _outcome(job: Job, line: dict[str, Any]) -> Outcome:
    """The outcome that a line of the manifest states; the number of pixels is not known."""
    names = ("source_size", "source_mtime_ns", "bytes", "sha256", "bpp", "model", "seconds")
    return Outcome(job, **{name: line[name] for name in names}, warnings=tuple(line["warnings"]))


def _check_model(settings: Settings) -> None:
    """Raise ModelError if the model of this machine gives other files than that of the command."""
    if _identity(_Hashed(settings)) != settings.identity:
        raise ModelError("the model or the version of vqcodec on this machine of the cluster is another one")


class _Hashed:
    """Settings as a key of a cache: equal if their identity is."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __hash__(self) -> int:
        return hash(self.settings.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and other.settings.identity == self.settings.identity


@cache
def _identity(key: _Hashed) -> str:
    return check(key.settings)


def _absolute(settings: Settings) -> Settings:
    """Settings whose paths do not depend on the working directory, which workers of a cluster do not share."""
    model = settings.model
    # A folder that is called as an installed model is not meant.
    if model not in [entry.config.name for entry in entries()] and os.path.isdir(model):
        model = os.path.abspath(model)
    return replace(settings, src=settings.src.absolute(), dst=settings.dst.absolute(), model=model)


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray: Ray comes with the extra: pip install 'vqcodec[ray]'") from error
    return ray


@contextmanager
def _connected(ray: ModuleType, address: str) -> Iterator[None]:
    """A connection to the cluster; a local one is ended at the end. Signal handlers stay those of the batch."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, configure_logging=False, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--ray {address}: no cluster answers ({reason}); start one with `ray start --head`"
        ) from error
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Text that Ray and its processes print goes to stderr; the batch prints on stdout only afterwards."""
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(before, 1)
        os.close(before)
