"""Rows in, the means out that a fair comparison prints: per subset, model and keep, a rival beside ours.

Differs from bd_rate.py, which compares whole curves: here a mean of a rival stands beside ours over the same pictures,
those where it has a file that is not larger than ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .measure import SUBSETS, Row


@dataclass(frozen=True)
class Mean:
    """Means of per-picture values over `n_pictures`.

    A value that is undefined for a picture (nan) is left out of its mean; this depends on the picture's size alone, so
    both sides of a comparison leave out the same ones. An infinite PSNR makes the mean infinite.
    """

    n_pictures: int
    values: dict[str, float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Mean:
        columns = list(rows[0].values)
        return cls(len(rows), {column: _mean([row.values[column] for row in rows]) for column in columns})


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


@dataclass(frozen=True)
class Match:
    """A rival and ours over the same pictures: those where the rival has a file not larger than ours."""

    rival: Mean
    ours: Mean

    @property
    def difference(self) -> dict[str, float]:
        """Ours minus the rival's."""
        return {column: value - self.rival.values[column] for column, value in self.ours.values.items()}


@dataclass(frozen=True)
class Summary:
    """One keep of one model over one subset."""

    subset: str
    model: str
    keep: int
    ours: Mean
    """Over all pictures of the subset."""
    rivals: dict[str, Match | None]
    """None where the rival has no file for any picture."""

    def record(self) -> dict[str, Any]:
        """As a report holds it."""
        rivals = {
            name: match
            and {
                "pictures": match.rival.n_pictures,
                **match.rival.values,
                "ours_there": match.ours.values,
                "ours_minus_rival": match.difference,
            }
            for name, match in self.rivals.items()
        }
        fields = {"subset": self.subset, "model": self.model, "keep": self.keep, "pictures": self.ours.n_pictures}
        return fields | self.ours.values | {"rivals": rivals}


def summarise(rows: Sequence[Row], rivals: Sequence[str]) -> list[Summary]:
    """Means per subset, model and keep, of all rows but those of curves.

    `rivals` are the names that were asked for, with or without a file.
    """
    ours: dict[tuple[str, str, int], dict[str, Row]] = {}
    theirs: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in rows:
        key = (row.subset, row.model, row.keep)
        if row.kind == "ours":
            ours.setdefault(key, {})[row.picture] = row
        elif row.kind == "match":
            theirs.setdefault((*key, row.codec), []).append(row)
    models = list(dict.fromkeys(row.model for row in rows))
    order = sorted(ours, key=lambda key: (list(SUBSETS).index(key[0]), models.index(key[1]), key[2]))
    summaries = []
    for key in order:
        matches: dict[str, Match | None] = {}
        for name in rivals:
            found = theirs.get((*key, name), [])
            beside = [ours[key][row.picture] for row in found]
            matches[name] = Match(Mean.of(found), Mean.of(beside)) if found else None
        summaries.append(Summary(*key, Mean.of(list(ours[key].values())), matches))
    return summaries
