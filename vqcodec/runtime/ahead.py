"""Work that is begun in the background before its result is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from .forking import is_forked
from .threads import thread_count


def run_ahead(work: Callable[[], object]) -> None:
    """Run `work`, which keeps its own result, in a thread beside the caller's work.

    Nothing runs where the codec uses one thread. Errors are dropped: the call that needs the result raises them again.
    """
    if thread_count() > 1 and not is_forked():
        threading.Thread(target=_run, args=(work,), name="vqcodec-ahead").start()


def _run(work: Callable[[], object]) -> None:
    with suppress(Exception):
        work()
