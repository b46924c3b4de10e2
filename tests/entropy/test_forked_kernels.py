"""Compiled kernels after a fork: the child has no threads of the parent's pool."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

WAIT_S = 60


def test_a_forked_child_runs_kernels_that_its_parent_has_used() -> None:
    from openvino import Model, Type, opset13

    from vqcodec.runtime.compilation import InlineCompiled

    x = opset13.parameter([-1, 4], Type.f32)
    compiled = InlineCompiled(Model([opset13.add(x, opset13.constant(np.float32(1)))], [x]))
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


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_forked_child_runs_networks_that_its_parent_has_used(count: int) -> None:
    """In a fresh process, whatever its number of threads; the child compiles graphs of its own."""
    code = f"""
import multiprocessing, numpy, vqcodec
from vqcodec.runtime.threads import set_thread_count
set_thread_count({count})
pixels = numpy.arange(64 * 80 * 3, dtype=numpy.uint32).reshape(64, 80, 3).astype(numpy.uint8)
expected = vqcodec.encode(pixels, quality=20, effort=6)
with multiprocessing.get_context("fork").Pool(1) as pool:
    found = pool.apply_async(vqcodec.encode, (pixels,), dict(quality=20, effort=6)).get(timeout={WAIT_S})
assert found == expected
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=2 * WAIT_S)
