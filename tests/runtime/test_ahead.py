"""Work in the background: another thread, once, without errors; none where the codec uses one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import openvino
import pytest
from openvino import opset13

from vqcodec.runtime import ahead, threads
from vqcodec.runtime.ahead import in_order, run_ahead
from vqcodec.runtime.compilation import GraphCache


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads.set_thread_count(2)
    yield
    threads.set_thread_count(None)


def _ended() -> None:
    for thread in threading.enumerate():
        if thread.name == "vqcodec-ahead":
            thread.join()


@pytest.mark.usefixtures("two_threads")
def test_work_runs_in_another_thread() -> None:
    found: list[int] = []
    run_ahead(lambda: found.append(threading.get_ident()))
    _ended()
    assert len(found) == 1
    assert found[0] != threading.get_ident()


@pytest.mark.usefixtures("two_threads")
def test_errors_are_left_to_the_later_call(capfd: pytest.CaptureFixture[str]) -> None:
    run_ahead(lambda: 1 // 0)
    _ended()
    assert capfd.readouterr() == ("", "")


def test_nothing_runs_ahead_with_one_thread() -> None:
    threads.set_thread_count(1)
    try:
        run_ahead(lambda: pytest.fail("one thread"))
        assert not [thread for thread in threading.enumerate() if thread.name == "vqcodec-ahead"]
    finally:
        threads.set_thread_count(None)


def _doubling() -> openvino.Model:
    x = opset13.parameter([2], openvino.Type.f32)
    return openvino.Model([opset13.add(x, x)], [x])


@pytest.mark.usefixtures("two_threads")
def test_networks_compile_at_the_same_time_and_each_once() -> None:
    """The second network is compiled while the first one's graph is being built; a third caller waits for the first."""
    graphs, begun, second_done, builds = GraphCache(), threading.Event(), threading.Event(), []

    def slow() -> openvino.Model:
        builds.append("first")
        begun.set()
        assert second_done.wait(60)
        return _doubling()

    run_ahead(lambda: graphs.get("first", slow))
    assert begun.wait(60)
    np.testing.assert_array_equal(graphs.get("second", _doubling)(np.float32([1, 2]))[0], [2, 4])
    second_done.set()
    np.testing.assert_array_equal(graphs.get("first", slow)(np.float32([3, 4]))[0], [6, 8])
    assert builds == ["first"]


def test_the_next_item_is_begun_beside_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "thread_count", lambda: 2)
    both = threading.Barrier(2, timeout=20)

    def work(item: int) -> int:
        both.wait()
        return item

    assert list(in_order(work, [1, 2, 3, 4])) == [1, 2, 3, 4]


@pytest.mark.parametrize("threads", [1, 2])
def test_results_come_in_order_and_errors_reach_the_caller(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "thread_count", lambda: threads)
    assert list(in_order(lambda x: x * x, [3, 1, 2])) == [9, 1, 4]
    assert list(in_order(str, [])) == []
    found = in_order(lambda x: 1 // x, [1, 0, 1])
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        list(found)
