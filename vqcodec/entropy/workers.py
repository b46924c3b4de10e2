"""Threads for batches of tiles.

torch would split the small matrix products of a context model among its threads, which then wait for one another; here
each thread codes a batch of its own and torch is limited to one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from ..runtime.torch_state import torch_is_loaded

T = TypeVar("T")


def for_each(work: Callable[[T], None], items: Iterable[T], workers: int) -> None:
    """Call `work` on every item, in at most `workers` threads and no more than torch may use; raise the first error."""
    items = list(items)
    with _single_threaded_torch() as threads:
        workers = min(workers, threads, len(items))
        if workers < 2:
            for item in items:
                work(item)
            return
        with ThreadPoolExecutor(workers) as pool:
            contexts = [copy_context() for _ in items]  # threads report to the caller's observers of progress
            for _ in pool.map(lambda context, item: context.run(work, item), contexts, items):
                pass


_lock = threading.Lock()
_inside = 0
"""Callers within `_single_threaded_torch`."""
_threads = 1
"""torch's number of threads before the first of them."""


@contextmanager
def _single_threaded_torch() -> Iterator[int]:
    """torch uses one thread inside; yields the number of threads it uses outside."""
    global _inside, _threads
    if not torch_is_loaded():
        yield os.cpu_count() or 1
        return
    import torch

    with _lock:
        if _inside == 0:
            _threads = torch.get_num_threads()
            if _threads > 1:
                torch.set_num_threads(1)
        _inside += 1
    try:
        yield _threads
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _threads > 1:
                torch.set_num_threads(_threads)
