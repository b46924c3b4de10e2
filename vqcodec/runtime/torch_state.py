"""Modes and devices of torch during a call of the codec, independent of the caller's settings.

Importing this module loads no torch: modes can be on only where torch is loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from ..errors import UsageError
from .backend import check_torch
from .blas import single_threaded_blas

P = ParamSpec("P")
T = TypeVar("T")


def torch_is_loaded() -> bool:
    """True where torch is in memory already: loading it takes longer than coding most files."""
    return "torch" in sys.modules


@contextmanager
def codec_modes(device: str = "cpu") -> Iterator[None]:
    """Context without the caller's `inference_mode` and `autocast`, so that results do not depend on them.

    Tensors created in inference mode can never take part in a gradient, and autocast rounds to 8 significant bits.
    numpy's matrix products use one thread.
    """
    torch = sys.modules.get("torch")
    with ExitStack() as stack:
        stack.enter_context(single_threaded_blas())
        if torch is None:
            yield
            return
        stack.enter_context(torch.inference_mode(False))
        for kind in {"cpu", torch.device(device).type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def in_codec_modes(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: run `function` in `codec_modes` on its argument `device`. Raises UsageError for an unusable device."""
    form = signature(function)

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        device = str(form.bind(*args, **kwargs).arguments.get("device", "cpu"))
        check_device(device)
        with codec_modes(device):
            return function(*args, **kwargs)

    return inside


def check_device(device: str, name: str = "device") -> None:
    """Raise UsageError for a device that torch cannot use. The default, cpu, is accepted without loading torch."""
    if device == "cpu":
        return
    check_torch(f"{name} {device}")
    import torch

    try:
        torch.zeros(1, device=device)
    except Exception as error:  # each backend raises a class of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(f"{name} {device}: not usable here ({reason}); try cpu") from error
