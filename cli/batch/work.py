"""One file of a batch converted, and many of them in several processes.

A file that fails gives an `Outcome` like any other; so does one that takes its process down with it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqcodec.errors import InputError, LimitError, OutputError, VqcError, is_out_of_memory
from vqcodec.models.file_info import read_info
from vqcodec.models.ladder import EFFORT

from ..output import read_input, write_new
from .plan import FAIL, REPLACE, Job, file_digest


@dataclass(frozen=True)
class Settings:
    """The same for all files of a batch."""

    src: Path
    dst: Path
    to: str
    """vqc, png, jpg or webp."""
    model: str | None
    """None lets each picture choose."""
    rate: dict[str, Any]
    """Of `options.parse_rate`."""
    strip: bool
    device: str
    max_pixels: int
    debug: bool
    effort: int = EFFORT
    keep_times: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    job: Job
    error: str = ""
    """Empty if it is done."""
    exit_code: int = 0
    """What the error alone would end a command with."""
    source_size: int = 0
    source_mtime_ns: int = 0
    bytes: int = 0
    """Size of the target."""
    sha256: str = ""
    bpp: float = 0.0
    """Bits per pixel of the .vqc side."""
    model: str = ""
    """That made the .vqc side."""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def convert(job: Job, settings: Settings) -> Outcome:
    """Read, convert and write one file; whatever goes wrong is in the outcome."""
    start, source = time.perf_counter(), settings.src / job.source
    try:
        return replace(_convert(job, settings), seconds=time.perf_counter() - start)
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        message, code = _explain(error)
        return Outcome(job, message.removeprefix(f"{source}: "), code, seconds=time.perf_counter() - start)


def _convert(job: Job, settings: Settings) -> Outcome:
    if job.action == FAIL:
        raise OutputError(job.reason)
    source, target = settings.src / job.source, settings.dst / job.target
    try:
        before = os.stat(source)  # of what is read at the earliest: a change meanwhile is noticed by the next batch
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error
    data, coded, warnings = (_encode if settings.to == "vqc" else _decode)(source, settings)
    _make_folder(target.parent)
    if job.replaces is not None and file_digest(target) not in (job.replaces, None):
        raise OutputError(f"{target}: was changed while the batch ran; add -f to overwrite it")
    times = (before.st_atime_ns, before.st_mtime_ns) if settings.keep_times else None
    write_new(target, data, job.action == REPLACE, times)
    digest = hashlib.sha256(data).hexdigest()
    info = read_info(coded, None)
    return Outcome(
        job, "", 0, before.st_size, before.st_mtime_ns, len(data), digest, info.bpp, info.model or "", 0.0, warnings
    )


def _encode(source: Path, settings: Settings) -> tuple[bytes, bytes, tuple[str, ...]]:
    """The target, its .vqc side, warnings."""
    import vqcodec
    from vqcodec.image.files import read_picture
    from vqcodec.image.picture import strip as strip_picture

    picture = read_picture(source, settings.max_pixels)
    picture = strip_picture(picture) if settings.strip else picture
    data = vqcodec.encode(
        picture,
        settings.model,
        effort=settings.effort,
        device=settings.device,
        **settings.rate,
    )
    return data, data, picture.warnings


def _decode(source: Path, settings: Settings) -> tuple[bytes, bytes, tuple[str, ...]]:
    """The target, its .vqc side, warnings."""
    from vqcodec.api import decode_picture
    from vqcodec.image.files import write_picture

    coded = read_input(source)
    picture = decode_picture(coded, device=settings.device, max_pixels=settings.max_pixels)
    data, lost = write_picture(picture, settings.to)
    return data, coded, (*picture.warnings, *lost)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder}: a file is where a directory is needed") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error


def _explain(error: Exception) -> tuple[str, int]:
    """One line, and an exit code."""
    if isinstance(error, VqcError):
        message, code = str(error), error.exit_code
    elif is_out_of_memory(error):
        message, code = "out of memory; fewer files at a time (-j) or a smaller --max-pixels help", LimitError.exit_code
    else:
        message, code = f"internal error: {type(error).__name__}: {error} (--debug shows where)", VqcError.exit_code
    return " ".join(message.split()), code


def run(
    jobs: Iterable[Job], settings: Settings, workers: int, threads: int, stop: Callable[[], bool]
) -> Iterator[Outcome]:
    """Outcomes as they come, in `workers` processes of `threads` threads (one worker: in this process).

    Once `stop` says so no further file is begun; those in work are finished. Closing the iterator ends them.
    """
    if workers == 1:
        for job in jobs:
            if stop():
                return
            yield convert(job, settings)
        return
    todo, alone = deque(jobs), deque[Job]()
    while (todo or alone) and not stop():
        # Nobody knows which of the files in work took a process down, so each of them is tried again by itself.
        queue, width = (alone, 1) if alone else (todo, workers)
        lost = yield from _drain(queue, settings, width, threads, stop)
        if len(lost) == 1:
            message = "its process died, perhaps for want of memory; try a smaller -j"
            yield Outcome(lost[0], message, LimitError.exit_code)
        else:
            alone.extend(lost)


def _drain(
    queue: deque[Job], settings: Settings, workers: int, threads: int, stop: Callable[[], bool]
) -> Generator[Outcome, None, list[Job]]:
    """Work until `queue` is empty, `stop` says so, or a process dies: then the jobs that were in work are returned."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(threads,))
    running: dict[Future[Outcome], Job] = {}
    lost: list[Job] = []
    try:
        while not lost:
            while queue and len(running) < workers and not stop():
                with _deaf():
                    running[pool.submit(convert, queue[0], settings)] = queue[0]
                queue.popleft()
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(job)
    except BrokenProcessPool:  # noticed by `submit`
        pass
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    for future, job in running.items():
        if future.cancelled() or future.exception() is not None:
            lost.append(job)
        else:
            yield future.result()
    return lost


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, which a terminal sends to all: their parent decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(threads: int) -> None:
    """Beginning of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception: drafts of files are cleared away
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        os._exit(143)
