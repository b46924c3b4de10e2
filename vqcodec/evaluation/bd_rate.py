"""BD-rate (Bjøntegaard 2001): mean difference of file size at equal quality, in percent.

The BD-rate of a picture compares its two rate-quality curves over the qualities that both reach; a reported value is
the mean over pictures. The library `bjontegaard` computes it by pchip: piecewise cubics that do not overshoot, which
makes unevenly spaced points harmless. Quality is in decibels, as the method requires.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics import Metric
from . import extra
from .measure import OURS, SUBSETS, Row

METHOD = "pchip"
FEWEST_POINTS = 3
"""Points that a curve needs for a BD-rate."""
RULE = (
    "Mean over pictures of each picture's BD-rate against the anchor: pchip, log rate at equal quality over the common "
    "range, whole files; below 0: smaller files. PSNR in dB, MS-SSIM x as -10 log10(1 - x) dB. A curve holds all "
    "measured files of the picture except those for which a smaller file is as good; a reference codec's curve is "
    "limited to the files around the qualities of the models. `common_range` is the share of the models' quality range "
    "that the BD-rate covers. `best of` several models: the files of each that no other model's curve exceeds."
)
"""Definition of the values, for reports."""


@dataclass(frozen=True)
class Anchor:
    """The codec that BD-rates are relative to, and the files that count."""

    codec: str
    """Name of a reference codec."""
    bpp_range: tuple[float, float] | None = None
    """Lowest and highest bits per pixel; files of all codecs outside it are left out. None: no limit."""


@dataclass(frozen=True)
class Curve:
    """Rate-quality points of one codec for one picture, both values strictly increasing."""

    bpp: tuple[float, ...]
    quality: tuple[float, ...]
    """dB."""

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """The curve of (bpp, dB) in any order, all finite; a point is dropped if one of no more bpp is as good."""
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
    """The curve of a choice among several models by rate: the points that no other curve exceeds.

    A curve exceeds a point if it is better at the point's rate, interpolated linearly over log rate and constant after
    its last point. The Pareto front of the points alone would keep a weak model's point between two much better ones.
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
    """BD-rate of `test` against `anchor`: (percent, lowest and highest common quality in dB).

    -50 means half the bytes at equal quality. None if a curve has fewer than FEWEST_POINTS points or no quality is
    common to both. Raises UsageError if bjontegaard is not installed.
    """
    if min(len(anchor.bpp), len(test.bpp)) < FEWEST_POINTS:
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
    """Mean BD-rate of one codec or model over one subset by one metric."""

    subset: str
    codec: str
    model: str
    """A model, or `best of` several; empty for a reference codec."""
    metric: str
    """Metric.column."""
    percent: float
    """Mean over pictures; nan if no picture has a BD-rate."""
    extremes: tuple[float, float]
    """Least and largest BD-rate of a picture, percent; nan if no picture has one."""
    common_range: float
    """Share of the models' quality range that the BD-rate covers, 0..1; mean over the same pictures."""
    n_pictures: int
    """Pictures that have a BD-rate."""
    n_all: int
    """Pictures of the subset."""

    def record(self) -> dict[str, Any]:
        """The BD-rate with the keys of a report."""
        fields = {name: getattr(self, name) for name in ("subset", "codec", "model", "metric")}
        fields |= {"bd_rate_percent": self.percent, "common_range": self.common_range}
        fields |= dict(zip(("bd_rate_least", "bd_rate_largest"), self.extremes, strict=True))
        return fields | {"pictures": self.n_pictures, "of": self.n_all}


def bd_rates(rows: Sequence[Row], codecs: Sequence[str], metrics: Sequence[Metric], anchor: Anchor) -> list[BdRate]:
    """BD-rates per subset and metric of every model, of several models together, and of the other `codecs`."""
    found = []
    for subset in [name for name in SUBSETS if any(row.subset == name for row in rows)]:
        chosen = [row for row in rows if row.subset == subset]
        n_all = len({row.picture for row in chosen})
        by_metric = {metric.column: SubsetCurves.of(chosen, codecs, metric, anchor) for metric in metrics}
        for codec, model in by_metric[metrics[0].column].tests:
            for column, curves in by_metric.items():
                results = curves.compare(codec, model)
                percent, share = (_mean([result[i] for result in results]) for i in (0, 1))
                rates = [result[0] for result in results] or [math.nan]
                ends = (min(rates), max(rates))
                found.append(BdRate(subset, codec, model, column, percent, ends, share, len(results), n_all))
    return found


Curves = dict[str, Curve]
"""Name of the picture -> curve."""


@dataclass(frozen=True)
class SubsetCurves:
    """All curves of a subset by one metric."""

    anchors: Curves
    ranges: dict[str, tuple[float, float]]
    """Name of the picture -> lowest and highest quality of all models, dB."""
    tests: dict[tuple[str, str], Curves]
    """(codec, model) -> the curves compared with the anchor's."""

    @classmethod
    def of(cls, rows: Sequence[Row], codecs: Sequence[str], metric: Metric, anchor: Anchor) -> SubsetCurves:
        """Curves of the rows of one subset."""
        curves = _curves(rows, metric, anchor.bpp_range)
        models = dict.fromkeys(row.model for row in rows if row.kind == "ours")
        tests = {(OURS, model): curves.get((OURS, model), {}) for model in models}
        ours: dict[str, list[Curve]] = {}
        for own in tests.values():
            for name, curve in own.items():
                ours.setdefault(name, []).append(curve)
        if not models:  # codecs among themselves: over the range of the anchor
            ours = {name: [curve] for name, curve in curves.get((anchor.codec, ""), {}).items()}
        ranges = {name: (min(c.quality[0] for c in own), max(c.quality[-1] for c in own)) for name, own in ours.items()}
        if len(models) > 1:
            tests[OURS, f"best of {', '.join(models)}"] = {name: best_of(own) for name, own in ours.items()}
        for codec in codecs:
            if codec != anchor.codec:
                found = curves.get((codec, ""), {})
                tests[codec, ""] = {name: c.around(*ranges[name]) for name, c in found.items() if name in ranges}
        return cls(curves.get((anchor.codec, ""), {}), ranges, tests)

    def compare(self, codec: str, model: str) -> list[tuple[float, float]]:
        """(BD-rate in percent, share of the models' quality range) of each picture that has one."""
        found = []
        for name, curve in self.tests[codec, model].items():
            result = bd_rate(self.anchors[name], curve) if name in self.anchors else None
            if result is not None:
                percent, low, high = result
                lowest, highest = self.ranges[name]  # differ: a curve of one point has no BD-rate
                share = max(min(high, highest) - max(low, lowest), 0) / (highest - lowest)
                found.append((percent, share))
        return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _curves(
    rows: Sequence[Row], metric: Metric, bpp_range: tuple[float, float] | None
) -> dict[tuple[str, str], Curves]:
    """(codec, model) -> curves; the model of a reference codec is empty, since its files do not depend on models."""
    low, high = bpp_range or (0, math.inf)
    points: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        quality = decibels(metric, row.scores[metric.column])
        if low <= row.bpp <= high and math.isfinite(quality):
            key = (row.codec, row.model if row.kind == "ours" else "")
            points.setdefault(key, {}).setdefault(row.picture, []).append((row.bpp, quality))
    return {key: {name: Curve.of(p) for name, p in pictures.items()} for key, pictures in points.items()}


def decibels(metric: Metric, score: float) -> float:
    """`score` as a quality that rises, in dB where the metric has a natural one.

    PSNR and SSIMULACRA 2 unchanged; SSIM and MS-SSIM x as -10 log10(1 - x), infinite for 1; distances (LPIPS, DISTS) x
    as -10 log10(x), infinite for 0.
    """
    if metric.name in ("ms-ssim", "ssim"):
        return math.inf if score >= 1 else -10 * math.log10(1 - score)
    if metric.lower_is_better:
        return math.inf if score <= 0 else -10 * math.log10(score)
    return score
