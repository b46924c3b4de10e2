"""One thread for numpy's matrix products inside the codec.

The codec's products are small, and it runs them in threads of its own. OpenBLAS would split each among all cores, whose
threads wait for one another in a loop: on a busy machine that takes several times as long as one thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from .forking import ForkLock

VARIABLE = "OPENBLAS_NUM_THREADS"
"""Environment variable that OpenBLAS reads when numpy is loaded."""

_lock = ForkLock()
_inside = 0
"""Callers within `single_threaded_blas`."""
_limit: Any = None
"""Limit of the first of them, which the last one removes."""


def prepare() -> None:
    """Limit OpenBLAS by its environment variable, if that is not set and numpy, which reads it, not loaded yet."""
    if "numpy" not in sys.modules:
        os.environ.setdefault(VARIABLE, "1")


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Context in which OpenBLAS uses one thread."""
    global _inside, _limit
    if os.environ.get(VARIABLE) == "1":
        yield
        return
    with _lock:
        if _inside == 0:
            _limit = _controller().limit(limits=1)
            _limit.__enter__()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.__exit__(None, None, None)


@cache
def _controller() -> Any:
    import numpy  # noqa: F401  its library has to be in memory
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")
