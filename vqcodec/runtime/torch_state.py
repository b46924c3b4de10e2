"""Torch as the codec needs it, whatever its caller has set: inference mode, autocast, devices.

Importing this loads no torch: where torch is not loaded, none of its modes can be on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from ..errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def codec_modes(device: str = "cpu") -> Iterator[None]:
    """Without the caller's `inference_mode` and `autocast`: files and networks made inside do not depend on them.

    Tensors that are created in inference mode can never take part in a gradient again, and autocast rounds to 8 bits.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in {"cpu", torch.device(device).type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def in_codec_modes(function: Callable[P, T]) -> Callable[P, T]:
    """`function` within `codec_modes`, on the device of its argument `device`; UsageError if it is not there."""
    form = signature(function)

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        device = str(form.bind(*args, **kwargs).arguments.get("device", "cpu"))
        check_device(device)
        with codec_modes(device):
            return function(*args, **kwargs)

    return inside


def check_device(device: str, name: str = "device") -> None:
    """Raise UsageError for a device that torch does not have here; the default needs no torch for that."""
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device)
    except Exception as error:  # one kind for each backend that is not built in
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(f"{name} {device}: not usable here ({reason}); try cpu") from error
