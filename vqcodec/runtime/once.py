"""Values that are made at the first call, once, even if several threads make that call together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from .forking import ForkLock

T = TypeVar("T")


class Once(Generic[T]):
    """The result of `make`, kept from the first call on; later callers wait for it. An error is not kept."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock = make, ForkLock()
        self._found: list[T] = []

    def __call__(self) -> T:
        """The value. Raises what `make` raises."""
        with self._lock:
            if not self._found:
                self._found.append(self._make())
            return self._found[0]

    @property
    def is_made(self) -> bool:
        """True once `make` has returned."""
        return bool(self._found)
