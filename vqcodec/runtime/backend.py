"""Choice of the library that runs the networks: OpenVINO where it can, else torch."""

from __future__ import annotations

import os
import sys
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

from ..errors import UsageError
from .progress import Part, working

Backend = Literal["auto", "openvino", "torch"]
"""Name of a backend; "auto": OpenVINO for the models that it runs, torch for the others."""
VARIABLE = "VQCODEC_BACKEND"
"""Environment variable with the default."""
CONVERTER = "openvino.tools.ovc"
"""Module of OpenVINO that converts models of other formats; `openvino` tries to import it."""
INSTALL_TORCH = "pip install torch"


class BackendWarning(RuntimeWarning):
    """Another library than the preferred one runs the networks."""


def set_backend(name: str) -> None:
    """Use the backend `name` in this process and in those it starts. Raises UsageError for an unknown name."""
    os.environ[VARIABLE] = _checked(name)


def chosen_backend() -> Backend:
    """The backend in use. Raises UsageError for an unknown name in the environment."""
    return _checked(os.environ.get(VARIABLE) or "auto")


def _checked(name: str) -> Backend:
    if name not in get_args(Backend):
        raise UsageError(f"backend {name}: unknown; use one of {', '.join(get_args(Backend))}")
    return name  # type: ignore[return-value]


def leave_out_converter() -> None:
    """Let OpenVINO be imported without its converter of models, which doubles the time.

    Call it before `openvino` is imported; later it has no effect. It is for processes of the command, which convert no
    models: `openvino.convert_model` is missing in them.
    """
    sys.modules.setdefault(CONVERTER, None)  # type: ignore[arg-type]  # its import fails, which OpenVINO allows


def has_openvino() -> bool:
    """True where OpenVINO can compile networks and the backend in use is not torch."""
    return chosen_backend() != "torch" and not _openvino_fault()


def openvino_runs() -> bool:
    """True where OpenVINO is to run a model that it can run.

    Raises UsageError where it is asked for by name and cannot be used, and where "auto" has neither library. Warns once
    where "auto" falls back on torch.
    """
    backend = chosen_backend()
    if backend == "torch":
        return False
    fault = _openvino_fault()
    if fault and backend == "openvino":
        raise UsageError(f"backend openvino: {fault}; install it with: {_install_openvino()}")
    if fault and not _has_torch():
        ways = f"{_install_openvino()}, or {INSTALL_TORCH}"
        raise UsageError(f"{fault}, and torch is not installed; install one of them: {ways}")
    if fault:
        _warn_once(fault)
    return not fault


@cache
def _openvino_fault() -> str:
    """Reason for which OpenVINO cannot compile networks for this processor; empty if it can."""
    if find_spec("openvino") is None:
        return "OpenVINO is not installed"
    try:
        with working(Part.START_UP):
            from .compilation import check_openvino

            check_openvino()
    except Exception as error:  # a broken installation raises any kind
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]  # the first name source files
        return f"OpenVINO cannot be used ({lines[-1][:120] if lines else type(error).__name__})"
    return ""


@cache
def _warn_once(fault: str) -> None:
    warnings.warn(f"{fault}: torch runs the networks, which takes longer to start", BackendWarning, stacklevel=2)


def _install_openvino() -> str:
    """Command that installs OpenVINO, or replaces a broken or old installation."""
    return f"pip install {'--force-reinstall ' if find_spec('openvino') else ''}openvino"


def _has_torch() -> bool:
    return find_spec("torch") is not None


def check_torch(purpose: str) -> None:
    """Raise UsageError where torch is not installed; `purpose` says what needs it."""
    if not _has_torch():
        raise UsageError(f"{purpose} needs torch, which is not installed; install it with: {INSTALL_TORCH}")
