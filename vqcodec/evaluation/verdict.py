"""Verdict of a comparison in words: size of files at equal quality, codec by codec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import UsageError
from ..metrics import Metric
from . import extra
from .bd_rate import Anchor, BdRate, bd_rates
from .means import Summary
from .measure import OURS, SUBSETS, Row


def verdict(
    rows: Sequence[Row],
    summaries: Sequence[Summary],
    codecs: Sequence[str],
    metrics: Sequence[Metric],
    anchor: Anchor | None = None,
) -> list[str]:
    """One line per subset and pair of codecs: the models against each codec or, without models, each against the first.

    Sizes at equal quality are BD-rates; without the package for them, the lines give the difference in quality at
    equal bytes. Pairs without a value are left out.

    Args:
        rows: of all files.
        summaries: of the models' files.
        codecs: names of the reference codecs.
        metrics: those measured.
        anchor: the codec that others are compared with where there are no models, and the range of rates.
    """
    rated = [metric for metric in metrics if metric.bd_rate]
    try:
        extra.need("bjontegaard", "a BD-rate")
        found = list(_at_equal_quality(rows, codecs, rated, anchor)) if rated else []
    except UsageError:
        found = []
    return found or list(_at_equal_bytes(summaries, rated))


def _at_equal_quality(
    rows: Sequence[Row], codecs: Sequence[str], metrics: Sequence[Metric], anchor: Anchor | None
) -> Iterator[str]:
    limits = anchor.bpp_range if anchor else None
    ours = any(row.kind == "ours" for row in rows)
    first = anchor.codec if anchor else (codecs[0] if codecs else "")
    for other in codecs if ours else [first]:
        rates = bd_rates(rows, codecs, metrics, Anchor(other, limits))
        for subset in SUBSETS:
            for label in _subjects([rate for rate in rates if rate.subset == subset and (rate.codec == OURS) == ours]):
                own = [rate for rate in rates if (rate.subset, rate.codec, rate.model) == (subset, *label)]
                parts = [_part(rate, metric) for rate, metric in zip(own, metrics, strict=True) if rate.n_pictures]
                if parts:
                    name = label[0] + (f" ({label[1]})" if label[1] else "")
                    yield f"{name} against {other}, {_pictures(own)} {SUBSETS[subset]}: {', '.join(parts)}"


def _subjects(rates: Sequence[BdRate]) -> list[tuple[str, str]]:
    """(codec, model) to speak of: of several models only the best of them."""
    found = list(dict.fromkeys((rate.codec, rate.model) for rate in rates))
    best = [label for label in found if label[1].startswith("best of")]
    return best or found


def _part(rate: BdRate, metric: Metric) -> str:
    word = "smaller" if rate.percent < 0 else "larger"
    size = "files of the same size" if abs(rate.percent) < 0.5 else f"{abs(rate.percent):.0f} % {word} files"
    each = ""
    if rate.n_pictures > 1:
        low, high = map(round, rate.extremes)
        each = f" (single pictures {low:+d} to {high:+d} %)"
    return f"{size} at equal {metric.title.removesuffix(' dB')}{each}"


def _pictures(rates: Sequence[BdRate]) -> str:
    counts = [rate.n_pictures for rate in rates if rate.n_pictures]
    low, high, n_all = min(counts, default=0), max(counts, default=0), rates[0].n_all
    return f"{low if low == high else f'{low} to {high}'} of {n_all} pictures"


def _at_equal_bytes(summaries: Sequence[Summary], metrics: Sequence[Metric]) -> Iterator[str]:
    for subset in SUBSETS:
        for name in dict.fromkeys(name for line in summaries for name in line.matches):
            matches = [m for s in summaries if s.subset == subset and (m := s.matches[name]) is not None]
            parts = []
            for metric in metrics:
                values = [match.difference[metric.column] for match in matches]
                defined = [value for value in values if abs(value) < float("inf")]
                if defined:
                    parts.append(f"{metric.title} {sum(defined) / len(defined):+.{metric.digits}f}")
            if parts:
                yield f"{OURS} against {name}, pictures of {SUBSETS[subset]}, at equal bytes: {', '.join(parts)}"
