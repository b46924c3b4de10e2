"""Choice of the library that runs the networks, where OpenVINO or torch is missing, broken or too old."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module

import openvino
import pytest

from vqcodec.errors import UsageError
from vqcodec.runtime import backend, compilation
from vqcodec.runtime.once import Once

NO_PLUGIN = """Exception from src/inference/src/cpp/core.cpp:268:
Exception from src/inference/src/dev/core_impl.cpp:706:
Device with "CPU" name is not registered in the OpenVINO Runtime

"""


class CoreWithoutPlugin:
    """`openvino.Core` of an installation without the plugin for processors."""

    def get_property(self, device: str, name: str) -> list[str]:
        raise RuntimeError(NO_PLUGIN)


def no_core() -> None:
    raise RuntimeError("Cannot load plugins.xml")


def missing(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "openvino", None)


def without_core(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(openvino, "Core", no_core)


def without_plugin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(openvino, "Core", CoreWithoutPlugin)


def too_old(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(openvino, "opset13")
    patch.setattr(openvino, "__version__", "2022.3.0")


def without_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(openvino, "CompiledModel", object)
    patch.setattr(openvino, "__version__", "2024.1.0")


def not_importable(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(sys.modules, "vqcodec.runtime.compilation")
    patch.delattr("vqcodec.runtime.compilation")
    patch.setitem(sys.modules, "openvino._pyopenvino", None)
    for name in [name for name in sys.modules if name == "openvino" or name.startswith("openvino.")]:
        if name != "openvino._pyopenvino":
            patch.delitem(sys.modules, name)


Break = Callable[[pytest.MonkeyPatch], None]
FAULTS = [
    (missing, "OpenVINO is not installed", "pip install openvino"),
    (without_core, "Cannot load plugins.xml", "pip install --force-reinstall openvino"),
    (without_plugin, 'used (Device with "CPU" name is not registered', "pip install --force-reinstall openvino"),
    (too_old, "version 2022.3.0 is too old", "pip install --force-reinstall openvino"),
    (without_release, "version 2024.1.0 is too old", "pip install --force-reinstall openvino"),
    (not_importable, "OpenVINO cannot be used (", "pip install --force-reinstall openvino"),
]
broken = pytest.mark.parametrize(("fault", "reason", "remedy"), FAULTS, ids=[row[0].__name__ for row in FAULTS])


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clear the remembered state of the libraries before and after a test."""
    monkeypatch.setattr(compilation, "_core", Once(compilation._make_core))
    remembered = (backend._openvino_fault, backend._warn_once, compilation.fast_kind)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@broken
def test_auto_falls_back_on_torch_with_one_warning(
    fault: Break, reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backend.VARIABLE, "auto")
    fault(monkeypatch)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert not backend.openvino_runs()
        assert not backend.openvino_runs()
        assert not backend.has_openvino()
    (line,) = [str(entry.message) for entry in found if entry.category is backend.BackendWarning]
    assert reason in line
    assert "torch runs the networks" in line
    assert "\n" not in line


@broken
def test_openvino_by_name_is_an_error(fault: Break, reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "openvino")
    fault(monkeypatch)
    with pytest.raises(UsageError) as error:
        backend.openvino_runs()
    line = str(error.value)
    assert line.startswith("backend openvino: ")
    assert reason in line
    assert line.endswith(remedy)
    assert "\n" not in line


@broken
def test_without_torch_too_auto_names_both_ways(
    fault: Break, reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backend.VARIABLE, "auto")
    monkeypatch.setitem(sys.modules, "torch", None)
    fault(monkeypatch)
    with pytest.raises(UsageError) as error:
        backend.openvino_runs()
    line = str(error.value)
    assert reason in line
    assert line.endswith(f"and torch is not installed; install one of them: {remedy}, or pip install torch")


def test_a_sound_installation_runs_with_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("auto", "openvino"):
        monkeypatch.setenv(backend.VARIABLE, name)
        assert backend.openvino_runs()
        assert backend.has_openvino()


def test_torch_by_name_asks_for_no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "torch")
    monkeypatch.setattr(backend, "_openvino_fault", None)
    assert not backend.openvino_runs()
    assert not backend.has_openvino()


def test_the_converter_of_models_is_left_out_unless_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, backend.CONVERTER, sys)
    backend.leave_out_converter()
    assert sys.modules[backend.CONVERTER] is sys
    del sys.modules[backend.CONVERTER]
    backend.leave_out_converter()
    with pytest.raises(ModuleNotFoundError):
        import_module(backend.CONVERTER)
