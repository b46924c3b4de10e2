"""Overlap of reading, model and writing of the files of one process.

Threads read the next files and write the last ones while the calling thread runs the model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from .outcome import Outcome
from .packing import PackWork
from .plan import Job
from .settings import Settings
from .shards import ShardWork, is_shard
from .work import Work

READERS, WRITERS = 2, 2
"""Threads."""
AHEAD, BEHIND = 4, 4
"""Files at most that wait between two stages."""
MAX_AHEAD_BYTES = 2**24
"""Size of the sources that wait for the model, beyond which no further one is read."""

Take = Callable[[bool], Job | None]
"""Gives the next file to convert; None if there is none, yet or any more. Waits for one if its argument is True."""

Converter = Callable[[Take, Settings, Callable[[], bool]], Iterator[Outcome]]
"""`pipeline`, or a stand-in that worker processes can import."""


def pipeline(
    take: Take, settings: Settings, stop: Callable[[], bool], kind: type[Work] | None = None
) -> Generator[Outcome, None, None]:
    """Outcomes of the files that `take` gives, in this order.

    `take` is told to wait only when nothing is in work. Once `stop` returns True, files whose model run has not begun
    are dropped, and those behind it are finished. `kind` is the work on a file; None: its conversion.
    """
    reading: deque[tuple[Work, Future[None]]] = deque()
    writing: deque[Future[Outcome | None]] = deque()
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        try:
            while True:
                while len(reading) < AHEAD and not stop() and sum(w.held_bytes for w, _ in reading) < MAX_AHEAD_BYTES:
                    job = take(not reading and not writing)
                    if job is None:
                        break
                    work = (kind or work_class(job, settings))(job, settings, stop)
                    reading.append((work, readers.submit(work.read)))
                if stop():
                    break
                if reading:
                    work, read = reading.popleft()
                    read.result()
                    work.code()
                    writing.append(writers.submit(work.write))
                elif not writing:
                    return
                while writing and (writing[0].done() or len(writing) > BEHIND or not reading):
                    yield from _made(writing)
            while writing:
                yield from _made(writing)
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def work_class(job: Job, settings: Settings) -> type[Work]:
    """Class of the conversion of a file."""
    if settings.to == "tokens":
        return PackWork
    return ShardWork if is_shard(job.source) else Work


def _made(writing: deque[Future[Outcome | None]]) -> Iterator[Outcome]:
    """The next outcome; none if its work was interrupted."""
    outcome = writing.popleft().result()
    if outcome is not None:
        yield outcome
