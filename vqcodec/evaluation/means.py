"""Means of rows per subset, model and setting, with each reference codec over the same pictures.

A reference codec's mean is over the pictures where it has a file that is not larger than the model's; the model's mean
over those same pictures is given with it. BD-rates (`bd_rate`) compare whole curves at equal quality instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .measure import SUBSETS, Row


@dataclass(frozen=True)
class Mean:
    """Means of per-picture values over `n_pictures` pictures.

    A value that is undefined for a picture (nan) is left out; this depends on the picture's size only, so both sides
    of a comparison leave out the same ones. An infinite PSNR makes the mean infinite.
    """

    n_pictures: int
    values: dict[str, float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Mean:
        """Means of at least one row."""
        columns = list(rows[0].values)
        return cls(len(rows), {column: _mean([row.values[column] for row in rows]) for column in columns})


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


@dataclass(frozen=True)
class Match:
    """A reference codec and a model over the same pictures."""

    reference: Mean
    ours: Mean

    @property
    def difference(self) -> dict[str, float]:
        """The model's values minus the reference codec's."""
        return {column: value - self.reference.values[column] for column, value in self.ours.values.items()}


@dataclass(frozen=True)
class Summary:
    """Means of one setting of one model over one subset."""

    subset: str
    model: str
    setting: float
    """Quality, or number of layers."""
    ours: Mean
    """Over all pictures of the subset."""
    matches: dict[str, Match | None]
    """Reference codec -> means; None where it has no file for any picture."""

    def record(self) -> dict[str, Any]:
        """The summary with the keys of a report; `setting` is called `keep` there, `matches` `rivals`."""
        matches = {
            name: match
            and {
                "pictures": match.reference.n_pictures,
                **match.reference.values,
                "ours_there": match.ours.values,
                "ours_minus_rival": match.difference,
            }
            for name, match in self.matches.items()
        }
        fields = {"subset": self.subset, "model": self.model, "keep": self.setting, "pictures": self.ours.n_pictures}
        return fields | self.ours.values | {"rivals": matches}


def summarise(rows: Sequence[Row], codecs: Sequence[str]) -> list[Summary]:
    """Means per subset, model and setting of all rows except those of curves.

    `codecs` are the names of the reference codecs that were requested, with or without a file.
    """
    ours: dict[tuple[str, str, float], dict[str, Row]] = {}
    matched: dict[tuple[str, str, float, str], list[Row]] = {}
    for row in rows:
        key = (row.subset, row.model, row.model_setting)
        if row.kind == "ours":
            ours.setdefault(key, {})[row.picture] = row
        elif row.kind == "match":
            matched.setdefault((*key, row.codec), []).append(row)
    models = list(dict.fromkeys(row.model for row in rows))
    order = sorted(ours, key=lambda key: (list(SUBSETS).index(key[0]), models.index(key[1]), key[2]))
    summaries = []
    for key in order:
        matches: dict[str, Match | None] = {}
        for name in codecs:
            found = matched.get((*key, name), [])
            same_pictures = [ours[key][row.picture] for row in found]
            matches[name] = Match(Mean.of(found), Mean.of(same_pictures)) if found else None
        summaries.append(Summary(*key, Mean.of(list(ours[key].values())), matches))
    return summaries
