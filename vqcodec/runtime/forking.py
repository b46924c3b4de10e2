"""State that a forked process must not inherit: locks of threads it does not have, and torch's thread pool.

Importing this loads no torch.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from types import TracebackType


class ForkLock:
    """A re-entrant lock that is free in a forked child, whatever other threads of the parent were doing."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.RLock()


_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()


def _in_child() -> None:
    for lock in list(_locks):
        lock.renew()
    if "torch" in sys.modules:
        # The threads of the parent's OpenMP pool are gone; the first parallel region would wait for them for ever.
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
