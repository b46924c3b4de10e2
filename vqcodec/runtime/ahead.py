"""Work that is begun in the background before its result is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from .forking import is_forked
from .threads import thread_count

T = TypeVar("T")
R = TypeVar("R")


def run_ahead(work: Callable[[], object]) -> None:
    """Run `work`, which keeps its own result, in a thread beside the caller's work.

    Nothing runs where the codec uses one thread. Errors are dropped: the call that needs the result raises them again.
    """
    if thread_count() > 1 and not is_forked():
        threading.Thread(target=_run, args=(work,), name="vqcodec-ahead").start()


def _run(work: Callable[[], object]) -> None:
    with suppress(Exception):
        work()


def in_order(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Results of `work` for each item, in order; the next item is begun beside the present one.

    Parts of `work` that use one thread then run beside those that use all. Where the codec uses one thread, items are
    processed one after the other.
    """
    if thread_count() < 2 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(2) as pool:
        contexts = [copy_context() for _ in items]  # threads report to the caller's observers of progress
        running = [pool.submit(contexts[0].run, work, items[0])]
        for context, item in zip(contexts[1:], items[1:], strict=True):
            running.append(pool.submit(context.run, work, item))
            yield running.pop(0).result()
        yield running.pop(0).result()
