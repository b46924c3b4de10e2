"""Compilation of graphs by OpenVINO for this processor."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache

import numpy as np
import openvino

from .forking import ForkLock, is_forked
from .once import Once
from .progress import Part, working
from .threads import thread_count

DEVICE = "CPU"
OPERATIONS = "opset13"
"""Set of operations that the graphs are built of."""
KEPT = 3
"""Compiled networks in memory: each holds its own intermediate results."""
LARGE = 2**22
"""Values of inputs and outputs, about a megapixel, from which on a network gives its intermediate results back."""


def _make_core() -> openvino.Core:
    return openvino.Core()


_core = Once(_make_core)


@cache
def fast_kind() -> openvino.Type:
    """Element type in which convolutions are fastest here: bfloat16 if the processor multiplies it, else float32."""
    has_bf16 = "BF16" in _core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return openvino.Type.bf16 if has_bf16 else openvino.Type.f32


def check_openvino() -> None:
    """Load the part of OpenVINO for this processor. Raises an error of any kind where the installation is broken."""
    compiled = getattr(openvino, "CompiledModel", None)
    if not hasattr(openvino, OPERATIONS) or not hasattr(compiled, "release_memory"):
        raise ImportError(f"version {getattr(openvino, '__version__', 'unknown')} is too old")
    fast_kind()


def compile_graph(graph: openvino.Model, threads: int) -> openvino.CompiledModel:
    """Compile a graph whose operations run in the element types that it states.

    Args:
        graph: the graph.
        threads: threads of a call; 0: the calling thread alone.
    """
    if is_forked():
        threads = 0  # the parent's threads, which others reuse, are not here
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": max(threads, 1),
        "NUM_STREAMS": min(threads, 1),
        "ENABLE_CPU_PINNING": False,
    }
    with working(Part.MODEL):
        return _core().compile_model(graph, DEVICE, settings)


def _abandon(found: object) -> None:
    """Keep an object of the parent process until this one ends: freeing it would wait for threads that are not here."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))


class Compiled:
    """Compiled network with `threads` threads; calls from several threads run one after another."""

    def __init__(self, graph: openvino.Model, threads: int) -> None:
        self._model = compile_graph(graph, threads)
        self._request = self._model.create_infer_request()
        self._lock = ForkLock()
        self._is_large = sum(math.prod(port.shape) for port in (*self._model.inputs, *self._model.outputs)) >= LARGE

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Outputs of the graph for its inputs, as new arrays."""
        with self._lock:
            found = self._request.infer([np.ascontiguousarray(x) for x in inputs], share_inputs=True)
            return [found[i] for i in range(len(found))]

    def release(self) -> None:
        """Free the intermediate results of a large network; the next call allocates them again."""
        if self._is_large:
            with self._lock:
                self._model.release_memory()


class InlineCompiled:
    """Compiled graph of small operations, which run in the calling thread; calls from several run one after another.

    Handing small operations over to a thread of OpenVINO takes about as long as the operations. A forked child compiles
    the graph again.
    """

    def __init__(self, graph: openvino.Model) -> None:
        self._graph, self._lock, self._of_thread = graph, ForkLock(), threading.local()
        self._model: openvino.CompiledModel | None = compile_graph(graph, threads=0)
        _inherited.add(self)

    def forget(self) -> None:
        """Abandon what the parent process compiled."""
        _abandon((self._model, getattr(self._of_thread, "request", None)))
        self._model, self._of_thread = None, threading.local()

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """First output of the graph; valid until the next call from the same thread.

        Inputs are C-contiguous arrays of the graph's element types.
        """
        if not hasattr(self._of_thread, "request"):
            with self._lock:
                if self._model is None:
                    self._model = compile_graph(self._graph, threads=0)
                self._of_thread.request = self._model.create_infer_request()
        request = self._of_thread.request
        for i, values in enumerate(inputs):  # `infer` with inputs takes several times as long to pass them on
            request.set_input_tensor(i, openvino.Tensor(values, shared_memory=True))
        request.infer(share_inputs=True, share_outputs=True)
        found: np.ndarray = request.get_output_tensor(0).data
        return found


class GraphCache:
    """The last KEPT compiled networks, by key; a forked child starts with none.

    Threads compile different networks at the same time, and each network once.
    """

    def __init__(self) -> None:
        self._graphs: OrderedDict[Hashable, Once[Compiled]] = OrderedDict()
        self._lock = ForkLock()
        _inherited.add(self)

    def forget(self) -> None:
        """Abandon the networks that the parent process compiled."""
        _abandon(self._graphs)
        self._graphs = OrderedDict()

    def get(self, key: Hashable, build: Callable[[], openvino.Model]) -> Compiled:
        """The compiled network of `key`; `build` makes the graph if it is not in memory."""
        threads = thread_count()
        with self._lock:
            full = (key, threads)
            if full not in self._graphs:
                self._graphs[full] = Once(lambda: Compiled(build(), threads))
                while len(self._graphs) > KEPT:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(full)
            graph = self._graphs[full]
        with working(Part.MODEL):
            return graph()

    def release(self) -> None:
        """Free the intermediate results of large networks, which stay compiled."""
        with self._lock:
            graphs = [graph for graph in self._graphs.values() if graph.is_made]
        for graph in graphs:
            graph().release()


_inherited: weakref.WeakSet[InlineCompiled | GraphCache] = weakref.WeakSet()
"""Holders of compiled graphs, which a forked child inherits without their threads."""


def _in_child() -> None:
    if _core.is_made:
        _abandon(_core())  # goes on to compile for the child
    for holder in list(_inherited):
        holder.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
