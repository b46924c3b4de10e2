"""Best checkpoint of a run by a metric of its validation, kept next to the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .run import TokenizerRun
from .validate_metrics import BEST_BY, score

BEST = "best.pt"


def keep_best(run: TokenizerRun, row: dict[str, Any], folder: Path) -> bool:
    """Write best.pt if the row of validation is better than all before it; return True if it was.

    The value is part of the run's state, so that a resumed run compares with it.
    """
    name = run.recipe.run.best
    if not name:
        return False
    value = score(name, row)
    if not value > run.best.get(name, float("-inf")):
        return False
    run.best = {name: value}
    run.save(folder, BEST)
    return True


def described(run: TokenizerRun) -> str:
    """`psnr 24.31` of the best checkpoint so far."""
    return ", ".join(f"{name} {BEST_BY[name].sign * value:.4g}" for name, value in run.best.items())
