"""Compiled kernels after a fork: the child has no threads of the parent's pool."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

WAIT_S = 60


def test_a_forked_child_runs_kernels_that_its_parent_has_used() -> None:
    from openvino import Model, Type, opset13

    from vqcodec.runtime.compilation import ConcurrentlyCompiled

    x = opset13.parameter([-1, 4], Type.f32)
    compiled = ConcurrentlyCompiled(Model([opset13.add(x, opset13.constant(np.float32(1)))], [x]), streams=2)
    given = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(compiled(given), given + 1)

    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(compiled(given).copy()))
    child.start()
    child.join(WAIT_S)
    ended = not child.is_alive()
    if not ended:
        child.kill()
        child.join()
    assert ended
    np.testing.assert_array_equal(results.get(), given + 1)
