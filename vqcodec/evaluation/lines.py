"""Rate-quality curves of a subset: the means of each codec by setting.

A setting of a reference codec that was not measured for all pictures is left out, so that all points of a curve are
means over the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .means import Mean
from .measure import OURS, Row


@dataclass(frozen=True)
class Line:
    """One codec in the panels of a subset."""

    codec: str
    model: str
    settings: tuple[float, ...]
    points: tuple[Mean, ...]
    """Means by increasing setting."""

    @property
    def label(self) -> str:
        """Codec, with the model if it has one."""
        return f"{self.codec} {self.model}".rstrip()

    def xy(self, column: str) -> list[tuple[float, float]]:
        """(bpp, value) of the points whose value is finite."""
        values = [(point.values["bpp"], point.values[column]) for point in self.points]
        return [(bpp, value) for bpp, value in values if math.isfinite(value)]


def lines(rows: Sequence[Row], subset: str) -> Iterator[Line]:
    """A line for each model, then one for each reference codec that has the rows of a curve."""
    chosen = [row for row in rows if row.subset == subset]
    n_all = len({row.picture for row in chosen})
    found: dict[tuple[str, str], dict[float, list[Row]]] = {}
    for row in sorted(chosen, key=lambda row: row.kind != "ours"):
        if row.kind != "match":
            key = (row.codec, row.model)
            found.setdefault(key, {}).setdefault(row.setting, []).append(row)
    for (codec, model), by_setting in found.items():
        whole = sorted((s, rows) for s, rows in by_setting.items() if codec == OURS or len(rows) == n_all)
        yield Line(codec, model, tuple(s for s, _ in whole), tuple(Mean.of(rows) for _, rows in whole))
