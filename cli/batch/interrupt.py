"""Interruption of a batch between two files by Ctrl-C, `kill` or a closed terminal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A request to stop; a second one interrupts at once."""

    def __init__(self, quiet: bool) -> None:
        self.requested, self.quiet = False, quiet
        self.ended = False
        """The batch itself has decided to stop."""

    def __call__(self) -> bool:
        """True once no further file may be started."""
        return self.requested or self.ended

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Signal handler. Raises KeyboardInterrupt at the second signal."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if number == signal.SIGINT and not self.quiet:
            os.write(2, b"\nstopping after the files in work; Ctrl-C again stops at once\n")


@contextmanager
def stop_signals(quiet: bool) -> Iterator[Stop]:
    """SIGINT, SIGTERM and SIGHUP become a request to stop, except one that the caller ignores, as with nohup."""
    stop, before = Stop(quiet), {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
