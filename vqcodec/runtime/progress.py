"""Progress of the codec's calls: parts of their work as they begin and end, for bars and for tables of time.

The functions of the codec report to the observers of the context they run in; without observers a report costs about a
microsecond. An observer may be called from several threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Protocol


class Part(StrEnum):
    """Part of a call's work; the value is its name in tables."""

    START_UP = "start-up"
    MODEL = "model"
    """Weights and the library that runs the networks."""
    PICTURE_IN = "picture in"
    ENCODER = "network: encoder"
    REFINEMENT = "network: refinement"
    """Decoder network and its gradient, in latent refinement."""
    DECODER = "network: decoder"
    SELECTION = "entropy: selection"
    """Selection of indices under the entropy model, and their coding in the same pass."""
    CODING = "entropy: coding"
    CONTAINER = "container"
    """Parts of a .vqc file to bytes and back, and the file itself."""
    PICTURE_OUT = "picture out"
    WEIGHTS = "weights"
    """Weights of a checkpoint, in bytes."""


COST = {
    Part.ENCODER: 1.3e-6,
    Part.REFINEMENT: 5e-6,
    Part.DECODER: 1.7e-6,
    Part.SELECTION: 28e-6,
    Part.CODING: 20e-6,
    Part.PICTURE_OUT: 0.5e-6,
    Part.WEIGHTS: 1e-9,
}
"""Seconds of a part for each pixel, index or byte, about; only the evenness of a bar depends on it."""
INDICES = frozenset({Part.SELECTION, Part.CODING})
"""Parts whose amounts are indices instead of pixels."""


class Observer(Protocol):
    """Receiver of reports. Amounts are pixels, or indices for the parts in INDICES."""

    def expect(self, part: Part, amount: float) -> None:
        """Some `amount` of a part is to come."""

    def begin(self, part: Part) -> None:
        """A part begins in the calling thread."""

    def end(self, part: Part, amount: float) -> None:
        """The part that the calling thread began last has ended, with `amount` done."""


_observers: ContextVar[tuple[Observer, ...]] = ContextVar("observers", default=())


@contextmanager
def observing(*observers: Observer) -> Iterator[None]:
    """Context whose calls of the codec report to `observers`, besides those of the contexts around it."""
    before = _observers.set((*_observers.get(), *observers))
    try:
        yield
    finally:
        _observers.reset(before)


@contextmanager
def working(part: Part, amount: float = 0.0) -> Iterator[None]:
    """Report the work inside as `amount` of `part`: pixels, or indices for the parts in INDICES.

    Not around a `yield`, whose caller would count as well.
    """
    observers = _observers.get()
    for observer in observers:
        observer.begin(part)
    try:
        yield
    finally:
        for observer in observers:
            observer.end(part, amount)


def expect(part: Part, amount: float) -> None:
    """Report that `amount` of `part` is to come."""
    for observer in _observers.get():
        observer.expect(part, amount)


class WorkDone:
    """Observer of the share of the work that is done.

    Args:
        on_change: called with the share, 0..1, after each part; it never falls. More work than expected makes the
            share grow more slowly.
    """

    def __init__(self, on_change: Callable[[float], None] | None = None) -> None:
        self.part: Part | None = None
        """The part that began last."""
        self._on_change = on_change
        self._expected, self._done = dict.fromkeys(COST, 0.0), dict.fromkeys(COST, 0.0)
        self._share = 0.0
        self._lock = threading.Lock()

    @property
    def share(self) -> float:
        """Share of the expected work that is done, 0..1."""
        return self._share

    def expect(self, part: Part, amount: float) -> None:
        """Count `amount` as expected."""
        if part in COST:
            with self._lock:
                self._expected[part] += amount

    def begin(self, part: Part) -> None:
        """Remember the part."""
        self.part = part

    def end(self, part: Part, amount: float) -> None:
        """Count `amount` as done."""
        if part not in COST or not amount:
            return
        with self._lock:
            self._done[part] += amount
            done = sum(COST[p] * n for p, n in self._done.items())
            expected = sum(COST[p] * max(n, self._done[p]) for p, n in self._expected.items())
            share = self._share = max(self._share, done / expected)
        if self._on_change is not None:
            self._on_change(share)
