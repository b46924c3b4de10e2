"""Values that are made once, for all threads."""

from __future__ import annotations

import threading

import pytest

from vqcodec.runtime.once import Once

N = 8


def test_threads_that_ask_together_get_one_value() -> None:
    made, found = list[object](), list[object]()
    start, begun = threading.Barrier(N), threading.Semaphore(0)

    def make() -> object:
        for _ in range(N - 1):  # every other thread is about to ask
            begun.acquire(timeout=10)
        made.append(object())
        return made[-1]

    value = Once(make)
    assert not value.is_made

    def ask(first: bool) -> None:
        start.wait()
        if not first:
            begun.release()
        found.append(value())

    threads = [threading.Thread(target=ask, args=(i == 0,)) for i in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value.is_made
    assert len(made) == 1
    assert found == made * N


def test_an_error_is_not_kept() -> None:
    results = iter([ValueError("first"), 3])

    def make() -> int:
        found = next(results)
        if isinstance(found, Exception):
            raise found
        return found

    value = Once(make)
    with pytest.raises(ValueError, match="first"):
        value()
    assert not value.is_made
    assert value() == value() == 3
