"""Import of torchvision that survives a compiled part which does not match torch."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.library import Library


def import_torchvision() -> None:
    """Import torchvision even if its compiled part does not match torch, for example with a CPU-only build.

    It then registers two undeclared operators, which fails; the networks used here need neither, so they are declared.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        # Half-imported modules would break the second attempt.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision  # noqa: F401


@functools.cache  # the operators exist as long as the object
def _declare_operators() -> Library:
    from torch.library import Library

    library = Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
