"""Compiled graphs: intermediate results of large ones are given back, results stay equal."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.runtime.backend import has_openvino

if not has_openvino():
    pytest.skip("OpenVINO is not installed", allow_module_level=True)

from openvino import Model, Type, opset13

from vqcodec.runtime import compilation
from vqcodec.runtime.compilation import Compiled, GraphCache


def _graph(height: int) -> Model:
    """Two filters of 3x3 over float32 [1, 4, height, 64]."""
    x = opset13.parameter([1, 4, height, 64], Type.f32)
    y = x
    for seed in range(2):
        taps = opset13.constant(np.random.default_rng(seed).standard_normal((4, 4, 3, 3)).astype(np.float32))
        y = opset13.convolution(y, taps, [1, 1], [1, 1], [1, 1], [1, 1])
    return Model([y], [x])


class _Spy:
    """A compiled model that counts `release_memory`."""

    def __init__(self) -> None:
        self.released = 0

    def release_memory(self) -> None:
        self.released += 1


def test_results_after_a_release_equal_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "LARGE", 1)
    cache, x = GraphCache(), np.random.default_rng(3).standard_normal((1, 4, 32, 64)).astype(np.float32)
    before = cache.get("graph", lambda: _graph(32))(x)[0]
    kept = before.copy()
    cache.release()
    after = cache.get("graph", lambda: pytest.fail("compiled again"))(x)[0]
    np.testing.assert_array_equal(after, kept)
    np.testing.assert_array_equal(before, kept)  # results given out are not part of the memory


def test_small_graphs_keep_their_intermediate_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "LARGE", 2 * 4 * 48 * 64)  # inputs and outputs of 48 rows
    found = []
    for height in (47, 48):
        compiled, spy = Compiled(_graph(height), 1), _Spy()
        monkeypatch.setattr(compiled, "_model", spy)
        compiled.release()
        found.append(spy.released)
    assert found == [0, 1]
