"""Threads for batches of tiles: every item once, errors raised, matrix products in one thread."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from threadpoolctl import ThreadpoolController, threadpool_info

from vqcodec.entropy.workers import for_each, share_out
from vqcodec.runtime import blas, threads


def _threads_of_blas() -> list[int]:
    """Threads of numpy's OpenBLAS; other packages bring further ones, which the codec does not call."""
    found = [library for library in threadpool_info() if library["internal_api"] == "openblas"]
    return [library["num_threads"] for library in found if "numpy" in library["filepath"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_matrix_products_use_one_thread(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where numpy was loaded with more; the caller's number holds again afterwards."""
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.setattr(threads, "_count", workers)
    found: list[list[int]] = []
    with ThreadpoolController().select(internal_api="openblas").limit(limits=2):
        before = _threads_of_blas()
        if 2 not in before:
            pytest.skip("numpy without OpenBLAS, or one that has a single thread")
        for_each(lambda _: found.append(_threads_of_blas()), range(3), workers)
        assert _threads_of_blas() == before
    assert found == [[1] * len(before)] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_once_and_the_first_error(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_count", workers)
    seen: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> None:
        with lock:
            seen.append(item)
        if item == 2:
            raise ValueError("item 2")

    with pytest.raises(ValueError, match="item 2"):
        for_each(work, range(4), workers)
    assert len(seen) == len(set(seen))
    for_each(seen.append, range(10, 20), workers)
    assert sorted(seen)[-10:] == list(range(10, 20))


def test_the_limit_of_blas_is_stated_only_where_it_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set after numpy has read it would hide that its threads are not limited."""
    monkeypatch.setenv(blas.VARIABLE, "")  # so that it is as before in the end
    monkeypatch.delenv(blas.VARIABLE)
    blas.prepare()
    assert blas.VARIABLE not in os.environ
    monkeypatch.delitem(sys.modules, "numpy")
    blas.prepare()
    assert os.environ[blas.VARIABLE] == "1"
    monkeypatch.setenv(blas.VARIABLE, "3")
    blas.prepare()
    assert os.environ[blas.VARIABLE] == "3"


@pytest.mark.parametrize("count", [1, 2])
def test_parts_are_shared_out(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_count", count)
    seen: list[int] = []
    share_out(seen.append, 20)
    assert sorted(seen) == list(range(20))
    share_out(seen.append, 0)
    assert len(seen) == 20
    with pytest.raises(ZeroDivisionError):
        share_out(lambda i: 1 // (i - 7), 20)


def test_parts_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_count", 2)
    both = threading.Barrier(2, timeout=20)
    share_out(lambda _: both.wait() and None, 4)


def test_the_calling_thread_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_count", 2)
    both, seen = threading.Barrier(2, timeout=20), set[int]()

    def work(_: int) -> None:
        both.wait()
        seen.add(threading.get_ident())

    share_out(work, 2)
    assert len(seen) == 2
    assert threading.get_ident() in seen


@pytest.mark.parametrize("fails_here", [True, False])
def test_after_an_error_no_part_begins(fails_here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that fails leaves the others their parts at hand, which end before the error is raised."""
    monkeypatch.setattr(threads, "_count", 2)
    here, both, failed = threading.get_ident(), threading.Barrier(2, timeout=20), threading.Event()
    ended: list[int] = []

    def work(i: int) -> None:
        both.wait()
        if (threading.get_ident() == here) == fails_here:
            failed.set()
            raise ZeroDivisionError
        assert failed.wait(20)
        ended.append(i)

    with pytest.raises(ZeroDivisionError):
        share_out(work, 2)
    assert len(ended) == 1
    seen: list[int] = []

    def first_fails(i: int) -> None:
        seen.append(i)
        raise ZeroDivisionError

    monkeypatch.setattr(threads, "_count", 1)
    with pytest.raises(ZeroDivisionError):
        share_out(first_fails, 20)
    assert seen == [0]


def test_a_call_does_not_wait_for_busy_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another call holds the only further thread; the calling thread computes all parts."""
    monkeypatch.setattr(threads, "_count", 2)
    release, both = threading.Event(), threading.Barrier(3, timeout=20)

    def held(_: int) -> None:
        both.wait()
        assert release.wait(20)

    other = threading.Thread(target=lambda: share_out(held, 2))
    other.start()
    both.wait()
    seen: list[int] = []
    share_out(seen.append, 4)
    release.set()
    other.join()
    assert sorted(seen) == [0, 1, 2, 3]
