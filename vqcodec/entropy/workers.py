"""Threads for batches of tiles, in which numpy's matrix products start no threads of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from ..runtime.blas import single_threaded_blas
from ..runtime.threads import thread_count

T = TypeVar("T")


def for_each(work: Callable[[T], None], items: Iterable[T], workers: int) -> None:
    """Call `work` on every item, in at most `workers` threads and no more than are in use; raise the first error."""
    items = list(items)
    workers = min(workers, thread_count(), len(items))
    if workers < 2:
        with single_threaded_blas():
            for item in items:
                work(item)
        return
    with single_threaded_blas(), ThreadPoolExecutor(workers) as pool:
        contexts = [copy_context() for _ in items]  # threads report to the caller's observers of progress
        for _ in pool.map(lambda context, item: context.run(work, item), contexts, items):
            pass
