"""Fork safety: a forked child has none of its parent's threads, so it renews locks and computes in one thread.

Importing this module loads no torch.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from types import TracebackType

from .threads import set_thread_count


class ForkLock:
    """Re-entrant lock that is free in a forked child, even if a thread of the parent held it."""

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
        """Replace the lock by a free one."""
        self._lock = threading.RLock()


_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()


_forked = False


def is_forked() -> bool:
    """True in a forked child whose parent had torch or OpenVINO loaded: it has none of their threads."""
    return _forked


def _in_child() -> None:
    global _forked
    for lock in list(_locks):
        lock.renew()
    if "torch" in sys.modules or "openvino" in sys.modules:
        # The child has no threads of the parent's pools; the first parallel region would wait for them forever.
        set_thread_count(1)
        _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
