"""Choice of the library that runs the networks: OpenVINO where it can, else torch."""

from __future__ import annotations

import os
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


def has_openvino() -> bool:
    """True where OpenVINO is installed and the backend in use is not torch."""
    return chosen_backend() != "torch" and not _missing_openvino()


def openvino_runs() -> bool:
    """True where OpenVINO is to run a model that it can run.

    Raises UsageError where it is asked for by name and missing. Warns once where "auto" falls back on torch.
    """
    backend = chosen_backend()
    if backend == "torch":
        return False
    reason = _missing_openvino()
    if reason and backend == "openvino":
        raise UsageError(f"backend openvino: {reason}; install it with: pip install openvino")
    if reason:
        _warn_once(reason)
    return not reason


@cache
def _missing_openvino() -> str:
    """Reason for which OpenVINO cannot be used; empty if it can."""
    if find_spec("openvino") is None:
        return "OpenVINO is not installed"
    try:
        with working(Part.START_UP):
            import openvino  # noqa: F401
    except Exception as error:  # a broken installation raises any kind
        return f"OpenVINO cannot be loaded ({' '.join(str(error).split())[:120]})"
    return ""


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"{reason}: torch runs the networks, which takes longer to start", BackendWarning, stacklevel=2)


def check_torch(purpose: str) -> None:
    """Raise UsageError where torch is not installed; `purpose` says what needs it."""
    if find_spec("torch") is None:
        raise UsageError(f"{purpose} needs torch, which is not installed; install it with: pip install torch")
