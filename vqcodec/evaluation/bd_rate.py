"""BD-rate (Bjøntegaard 2001): how much larger or smaller the files of a codec are at equal quality, as one number.

Differs from eval_means.py: whole curves, at equal quality instead of equal size. A picture's BD-rate is between its
own two curves, over the qualities that both of them have; what is reported is the mean over the pictures, and over how
many. The library `bjontegaard` computes it, by pchip: piecewise cubics that never overshoot, so that uneven points do
no harm. Quality is in decibels, as the method wants it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqcodec.metrics import Metric

from . import extra
from .measure import OURS, SUBSETS, Row

METHOD = "pchip"
FEWEST = 3
"""Points that a curve needs."""
RULE = (
    "Mean over pictures of each picture's BD-rate against the anchor: pchip, log rate at equal quality over the common "
    "range, whole files; below 0: smaller files. PSNR in dB, MS-SSIM x as -10 log10(1 - x) dB. A curve is of all files "
    "measured of that picture, without those that a smaller file is as good as; a rival's, of those around the "
    "qualities of ours. `common_range` is how much of the qualities of ours that is over. Several models together: of "
    "each, the files that no other model's curve is above."
)


@dataclass(frozen=True)
class Anchor:
    """What BD-rates are against, and over which files."""

    codec: str
    """A rival's name."""
    bpp_range: tuple[float, float] | None = None
    """Files of other rates are left out, of all codecs; None: none are."""


@dataclass(frozen=True)
class Curve:
    """Points of one codec for one picture, both values strictly rising."""

    bpp: tuple[float, ...]
    quality: tuple[float, ...]
    """dB."""

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """Of at least one finite (bpp, dB), in any order; a point goes if one of no more bpp is as good."""
        front: list[tuple[float, float]] = []
        for bpp, quality in sorted(points, key=lambda point: (point[0], -point[1])):
            if not front or quality > front[-1][1]:
                front.append((bpp, quality))
        return cls(tuple(bpp for bpp, _ in front), tuple(quality for _, quality in front))

    def around(self, lowest: float, highest: float) -> Curve:
        """From the last point of at most `lowest` dB, or the first, to the first of at least `highest`, or the last."""
        start = max(sum(quality <= lowest for quality in self.quality) - 1, 0)
        end = sum(quality < highest for quality in self.quality) + 1
        return Curve(self.bpp[start:end], self.quality[start:end])


def best_of(curves: Sequence[Curve]) -> Curve:
    """The curve of whoever chooses among several models by rate: the points that no other curve is above.

    Above a point is a curve that is better at its rate, straight between points over log rate and level after its last
    one. The front of the points alone would keep a weak model's point between two far better ones, and sag there.
    """
    kept = []
    for curve in curves:
        others = [other for other in curves if other is not curve]
        for bpp, quality in zip(curve.bpp, curve.quality, strict=True):
            at = [np.interp(math.log(bpp), np.log(o.bpp), o.quality, left=-math.inf) for o in others]
            if all(quality >= other for other in at):
                kept.append((bpp, quality))
    return Curve.of(kept)


def bd_rate(anchor: Curve, test: Curve) -> tuple[float, float, float] | None:
    """Of `test` against `anchor`: (percent, lowest and highest quality that both have, dB).

    -50: half the bytes at equal quality. None if a curve has too few points or no quality is common to both.
    """
    if min(len(anchor.bpp), len(test.bpp)) < FEWEST:
        return None
    low, high = max(anchor.quality[0], test.quality[0]), min(anchor.quality[-1], test.quality[-1])
    if high <= low:
        return None
    library = extra.need("bjontegaard", "a BD-rate")
    percent = library.bd_rate(
        anchor.bpp, anchor.quality, test.bpp, test.quality, METHOD, require_matching_points=False, min_overlap=0
    )
    return float(percent), low, high


@dataclass(frozen=True)
class BdRate:
    """Of one codec over one subset by one metric."""

    subset: str
    codec: str
    model: str
    """Ours, or several of ours in one line; empty in a rival's."""
    metric: str
    """`Metric.column`."""
    percent: float
    """Mean over pictures; nan if there is none."""
    share: float
    """Of the qualities of all of ours, how much the BD-rate is over, 0..1; mean over the same pictures."""
    n_pictures: int
    """Pictures that have one."""
    n_all: int
    """Pictures of the subset."""

    def record(self) -> dict[str, Any]:
        """As a report holds it."""
        fields = {name: getattr(self, name) for name in ("subset", "codec", "model", "metric")}
        fields |= {"bd_rate_percent": self.percent, "common_range": self.share}
        return fields | {"pictures": self.n_pictures, "of": self.n_all}


def bd_rates(rows: Sequence[Row], rivals: Sequence[str], metrics: Sequence[Metric], anchor: Anchor) -> list[BdRate]:
    """Per subset: every model, several of them together, and every other one of `rivals`; each by every metric."""
    found = []
    for subset in [name for name in SUBSETS if any(row.subset == name for row in rows)]:
        chosen = [row for row in rows if row.subset == subset]
        n_all = len({row.picture for row in chosen})
        fields = {metric.column: Field.of(chosen, rivals, metric, anchor) for metric in metrics}
        for codec, model in fields[metrics[0].column].tests:
            for column, field in fields.items():
                results = field.compare(codec, model)
                percent, share = (_mean([result[i] for result in results]) for i in (0, 1))
                found.append(BdRate(subset, codec, model, column, percent, share, len(results), n_all))
    return found


Curves = dict[str, Curve]
"""By the picture's name."""


@dataclass(frozen=True)
class Field:
    """All curves of a subset by one metric."""

    anchors: Curves
    ranges: dict[str, tuple[float, float]]
    """By the picture's name, the lowest and the highest quality of all of ours, dB."""
    tests: dict[tuple[str, str], Curves]
    """By (codec, model), what is compared with the anchor."""

    @classmethod
    def of(cls, rows: Sequence[Row], rivals: Sequence[str], metric: Metric, anchor: Anchor) -> Field:
        curves = _curves(rows, metric, anchor.bpp_range)
        models = dict.fromkeys(row.model for row in rows if row.kind == "ours")
        tests = {(OURS, model): curves.get((OURS, model), {}) for model in models}
        ours: dict[str, list[Curve]] = {}
        for own in tests.values():
            for name, curve in own.items():
                ours.setdefault(name, []).append(curve)
        ranges = {name: (min(c.quality[0] for c in own), max(c.quality[-1] for c in own)) for name, own in ours.items()}
        if len(models) > 1:
            tests[OURS, f"best of {', '.join(models)}"] = {name: best_of(own) for name, own in ours.items()}
        for rival in rivals:
            if rival != anchor.codec:
                found = curves.get((rival, ""), {})
                tests[rival, ""] = {name: c.around(*ranges[name]) for name, c in found.items() if name in ranges}
        return cls(curves.get((anchor.codec, ""), {}), ranges, tests)

    def compare(self, codec: str, model: str) -> list[tuple[float, float]]:
        """(BD-rate in percent, share of the range) of each picture that has one."""
        found = []
        for name, curve in self.tests[codec, model].items():
            result = bd_rate(self.anchors[name], curve) if name in self.anchors else None
            if result is not None:
                percent, low, high = result
                lowest, highest = self.ranges[name]  # not the same, or too few points would be around them
                share = (min(high, highest) - max(low, lowest)) / (highest - lowest)
                found.append((percent, share))
        return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _curves(
    rows: Sequence[Row], metric: Metric, bpp_range: tuple[float, float] | None
) -> dict[tuple[str, str], Curves]:
    """By (codec, model); a rival's model is empty: its files are the same beside each of ours."""
    low, high = bpp_range or (0, math.inf)
    points: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        quality = decibels(metric, row.scores[metric.column])
        if low <= row.bpp <= high and math.isfinite(quality):
            key = (row.codec, row.model if row.kind == "ours" else "")
            points.setdefault(key, {}).setdefault(row.picture, []).append((row.bpp, quality))
    return {key: {name: Curve.of(p) for name, p in pictures.items()} for key, pictures in points.items()}


def decibels(metric: Metric, score: float) -> float:
    """`score` as quality in dB: PSNR is, MS-SSIM x becomes -10 log10(1 - x), infinite for 1."""
    if metric.name != "ms-ssim":
        return score
    return math.inf if score >= 1 else -10 * math.log10(1 - score)
