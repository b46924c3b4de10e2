"""Loading of batches ahead of the training loop by threads, with its speed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from .crops import Crops

AHEAD = 4
"""Batches queued for each worker."""


class Loader:
    """Iterates the batches start <= number < stop of `crops`, in order.

    Threads suffice: decoding and resizing release Python's lock, and the decoded pictures are shared.
    """

    def __init__(self, crops: Crops, start: int, stop: int, workers: int) -> None:
        self.crops, self.start, self.stop, self.workers = crops, start, stop, max(workers, 1)
        self.made = 0
        self.busy_s = 0.0
        self.waited_s = 0.0
        """Seconds that the iterating side waited."""
        self._lock = threading.Lock()

    @property
    def crops_per_s(self) -> float:
        """Crops per second that the workers cut while they are busy."""
        return self.made * self.workers / self.busy_s if self.busy_s else 0.0

    def __iter__(self) -> Iterator[Tensor]:
        pool = ThreadPoolExecutor(self.workers, "crops")
        waiting: deque[Future[Tensor]] = deque()
        following = self.start
        try:
            for _ in range(self.start, self.stop):
                while following < self.stop and len(waiting) < AHEAD * self.workers:
                    waiting.append(pool.submit(self._make, following))
                    following += 1
                before = time.perf_counter()
                batch = waiting.popleft().result()
                self.waited_s += time.perf_counter() - before
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, number: int) -> Tensor:
        before = time.perf_counter()
        batch = self.crops.batch(number)
        with self._lock:
            self.made += len(batch)
            self.busy_s += time.perf_counter() - before
        return batch
