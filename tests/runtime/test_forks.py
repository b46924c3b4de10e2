"""Forked children of a process that has run compiled networks: they have none of its threads."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from vqcodec.runtime.threads import set_thread_count, thread_count

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

WAIT_S = 60
FORKS = """
import os, sys
import numpy as np
import vqcodec
pixels = np.zeros((32, 32, 3), np.uint8)
data = vqcodec.encode(pixels, "product-vq", effort=1)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.exit(0 if vqcodec.encode(pixels, "product-vq", effort=1) == data else 3)
"""


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    set_thread_count(1)
    yield
    set_thread_count(None)


@pytest.mark.usefixtures("one_thread")
def test_a_forked_child_runs_networks_that_its_parent_has_used_with_one_thread() -> None:
    """The child's number of threads is the parent's, so that keys are equal: the child must not use its requests."""
    from openvino import Model, Type, opset13

    from vqcodec.runtime.compilation import GraphCache

    def graph() -> Model:
        x = opset13.parameter([1, 3, 8, 8], Type.f32)
        kernel = opset13.constant(np.ones((3, 3, 3, 3), np.float32))
        return Model([opset13.convolution(x, kernel, [1, 1], [1, 1], [1, 1], [1, 1])], [x])

    graphs, given = GraphCache(), np.ones((1, 3, 8, 8), np.float32)
    expected = graphs.get("graph", graph)(given)[0]

    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(graphs.get("graph", graph)(given)[0]))
    child.start()
    child.join(WAIT_S)
    ended = not child.is_alive()
    if not ended:
        child.kill()
        child.join()
    assert ended
    np.testing.assert_array_equal(results.get(), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_ends_after_the_interpreter_is_cleared() -> None:
    """Destructors of the parent's networks would wait for its threads."""
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=WAIT_S)


def test_no_number_of_threads_means_the_one_before_any_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    set_thread_count(1)
    assert thread_count() == 1
    set_thread_count(None)
    assert thread_count() == 3
