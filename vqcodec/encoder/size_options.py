"""Options for the size of a file: five ways to ask for it, checked before any network runs."""

from __future__ import annotations

import math
from typing import TypedDict, Unpack

from ..config.model import ModelConfig
from ..errors import UsageError
from ..metrics import METRICS
from ..models.ladder import check_quality


class SizeOptions(TypedDict, total=False):
    """At most one of these is not None; see `vqcodec.encode`."""

    quality: int | None
    """1..100, a place on the model's ladder."""
    keep: int | None
    """Layers, 1..N."""
    max_bytes: int | None
    """Budget for the whole file, at least 1."""
    bpp: float | None
    """Budget for the whole file, bits per pixel, more than 0."""
    min_quality: tuple[str, float] | None
    """(name of a metric, least value)."""


def check_size_options(name: str, config: ModelConfig, **size: Unpack[SizeOptions]) -> None:
    """Raise UsageError for more than one option, and for a value that no file of the model `name` can have."""
    if sum(value is not None for value in size.values()) > 1:
        raise UsageError("only one of quality, keep, max_bytes, bpp and min_quality can be given")
    if (quality := size.get("quality")) is not None:
        check_quality(quality)
    if (keep := size.get("keep")) is not None and not 1 <= keep <= len(config.layers):
        raise UsageError(f"keep {keep}: model '{name}' has layers 1..{len(config.layers)}")
    if (max_bytes := size.get("max_bytes")) is not None and max_bytes < 1:
        raise UsageError(f"max_bytes {max_bytes}: at least 1")
    if (bpp := size.get("bpp")) is not None:
        budget_for_bpp(bpp, 1, 1)
    if (min_quality := size.get("min_quality")) is not None:
        metric, target = min_quality
        if metric not in METRICS:
            raise UsageError(f"min_quality: metric '{metric}' is not one of {', '.join(METRICS)}")
        if not math.isfinite(target):
            raise UsageError(f"min_quality: {metric} {target:g} is not a finite number")


def budget_for_bpp(bpp: float, width: int, height: int) -> int:
    """Whole bytes that `bpp` bits per pixel allow. Raises UsageError unless 0 < bpp < infinity."""
    if not 0 < bpp < math.inf:
        raise UsageError(f"bpp {bpp:g}: a finite number, more than 0")
    return int(min(bpp, 1e6) * width * height / 8)
