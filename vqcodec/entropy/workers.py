"""Threads for batches of tiles and for parts of a tile, in which numpy's products start no threads of their own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import lru_cache
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


def share_out(work: Callable[[int], None], count: int) -> None:
    """Call `work` on 0..count - 1, in as many threads as are in use; raise an error of one of them.

    The calling thread is among them, because handing a small part to another thread takes about as long as computing
    it. After an error no further part begins, and no thread is at work when the call returns or raises.
    """
    waiting = deque(range(count))

    def take() -> None:
        while True:
            try:
                i = waiting.popleft()
            except IndexError:
                return
            try:
                work(i)
            except BaseException:
                waiting.clear()
                raise

    others = min(thread_count(), count) - 1
    futures = [_pool(thread_count() - 1, os.getpid()).submit(take) for _ in range(others)]
    try:
        take()
    finally:
        # A thread that has not begun is busy with parts of another call.
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that wait for work without using the processor; those of a parent process are not in a forked one."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vqcodec-part")
