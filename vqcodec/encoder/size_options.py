"""How large a file may be: the five ways to say it, checked before any network runs.

Differs from cutting.py, which makes a file that small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..config.model import ModelConfig
from ..errors import UsageError
from ..metrics import METRICS
from ..models.ladder import check_quality


def check_rate(
    candidates: Mapping[str, ModelConfig],
    *,
    quality: int | None = None,
    keep: int | None = None,
    max_bytes: int | None = None,
    bpp: float | None = None,
    min_quality: tuple[str, float] | None = None,
) -> None:
    """Raise UsageError for more than one of them, and for a value that no file of the models could have."""
    given = [value for value in (quality, keep, max_bytes, bpp, min_quality) if value is not None]
    if len(given) > 1:
        raise UsageError("only one of quality, keep, max_bytes, bpp and min_quality can be given")
    if quality is not None:
        check_quality(quality)
    if keep is not None:
        _check_keep(keep, candidates)
    if max_bytes is not None and max_bytes < 1:
        raise UsageError(f"max_bytes {max_bytes}: at least 1")
    if bpp is not None:
        budget_for_bpp(bpp, 1, 1)
    if min_quality is not None:
        metric, target = min_quality
        if metric not in METRICS:
            raise UsageError(f"min_quality: metric '{metric}' is not one of {', '.join(METRICS)}")
        if not math.isfinite(target):
            raise UsageError(f"min_quality: {metric} {target:g} is not a finite number")


def _check_keep(keep: int, candidates: Mapping[str, ModelConfig]) -> None:
    """Layers are counted in one model, the first; the others are worth a hint."""
    (name, first), *others = candidates.items()
    n = len(first.layers)
    if not 1 <= keep <= n:
        more = [f"; model '{other}' has 1..{len(c.layers)}" for other, c in others if 1 <= keep <= len(c.layers)]
        raise UsageError(f"keep {keep}: model '{name}' has layers 1..{n}{''.join(more[:1])}")


def budget_for_bpp(bpp: float, width: int, height: int) -> int:
    """Whole bytes that `bpp` bits per pixel allow."""
    if not 0 < bpp < math.inf:
        raise UsageError(f"bpp {bpp:g}: a finite number, more than 0")
    return int(min(bpp, 1e6) * width * height / 8)
