"""Tables that `vqcodec eval` prints on stdout: means per setting, and BD-rates."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from vqcodec.evaluation.bd_rate import Anchor, BdRate
from vqcodec.evaluation.lines import lines
from vqcodec.evaluation.means import Mean, Summary
from vqcodec.evaluation.measure import OURS, SUBSETS, Row

from ..messages import clean

if TYPE_CHECKING:
    from vqcodec.metrics import Metric

SECONDS = {"encode_s": "encode s", "decode_s": "decode s"}
SECONDS_DIGITS = 3
PIPE_WIDTH = 200
"""Columns of a table that is not printed in a terminal, where Rich would fold it at 80."""


def show(tables: Iterable[Table]) -> None:
    """Print `tables` on stdout."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    for table in tables:
        console.print(table, "")


def mean_tables(summaries: Sequence[Summary], metrics: Sequence[Metric], by: str = "keep") -> Iterator[Table]:
    """One table per subset and model; for each setting a line for the model and one for each codec that has a match.

    Metrics without any value are left out.
    """
    means = [line.ours for line in summaries]
    seconds = [column for column in SECONDS if _defined(column, means)]
    metrics = [metric for metric in metrics if _defined(metric.column, means)]
    columns = [("bpp", 4), *((metric.column, metric.digits) for metric in metrics)]
    for subset, model in dict.fromkeys((line.subset, line.model) for line in summaries):
        chosen = [line for line in summaries if (line.subset, line.model) == (subset, model)]
        table = _table(f"{model}, pictures of {SUBSETS[subset]}")
        table.caption = Text("in brackets: ours minus the other codec's, over the same pictures")
        titles = ["bpp", *(metric.title for metric in metrics), *(SECONDS[column] for column in seconds)]
        for title in (by, "codec", "pictures", *titles):
            table.add_column(title, justify="left" if title == "codec" else "right")
        for line in chosen:
            n = line.ours.n_pictures
            cells = [Text(f"{line.ours.values[column]:.{digits}f}") for column, digits in columns]
            cells += [Text(f"{line.ours.values[column]:.{SECONDS_DIGITS}f}") for column in seconds]
            table.add_row(str(line.setting), OURS, str(n), *cells, style="bold")
            for name, match in line.matches.items():
                if match is None:
                    continue
                values = match.reference.values
                worse = {metric.column for metric in metrics if metric.lower_is_better}
                cells = [_cell(values[c], match.difference[c], digits, c, c in worse) for c, digits in columns]
                cells += [_seconds(values[column]) for column in seconds]
                table.add_row("", name, f"{match.reference.n_pictures} of {n}", *cells)
            table.add_section()
        yield table


def _table(title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.title = Text(clean(title))
    return table


def _defined(column: str, means: Sequence[Mean]) -> bool:
    return any(not math.isnan(mean.values.get(column, math.nan)) for mean in means)


def _seconds(value: float) -> Text:
    return Text("" if math.isnan(value) else f"{value:.{SECONDS_DIGITS}f}")


def codec_tables(rows: Sequence[Row], metrics: Sequence[Metric]) -> Iterator[Table]:
    """One table per subset with a line for each codec and setting, for an evaluation without models."""
    for subset in SUBSETS:
        found = list(lines(rows, subset))
        if not found:
            continue
        means = [mean for line in found for mean in line.points]
        shown = [metric for metric in metrics if _defined(metric.column, means)]
        seconds = [column for column in SECONDS if _defined(column, means)]
        table = _table(f"pictures of {SUBSETS[subset]}")
        for title in ("codec", "setting", "pictures", "bpp", *(m.title for m in shown), *(SECONDS[c] for c in seconds)):
            table.add_column(title, justify="left" if title == "codec" else "right")
        for line in found:
            for setting, mean in zip(line.settings, line.points, strict=True):
                cells = [Text(f"{mean.values[metric.column]:.{metric.digits}f}") for metric in shown]
                cells += [_seconds(mean.values[column]) for column in seconds]
                head = (line.label, f"{setting:g}", str(mean.n_pictures), f"{mean.values['bpp']:.4f}")
                table.add_row(*head, *cells)
            table.add_section()
        yield table


def _cell(value: float, difference: float, digits: int, column: str, lower_is_better: bool) -> Text:
    better = -difference if lower_is_better else difference
    style = "green" if better > 0 else "red" if better < 0 else ""
    return Text(f"{value:.{digits}f}").append(f" ({difference:+.{digits}f})", "" if column == "bpp" else style)


def bd_tables(rates: Sequence[BdRate], metrics: Sequence[Metric], anchor: Anchor) -> Iterator[Table]:
    """One table per subset, with a line for each model and each other codec that has a value."""
    for subset in dict.fromkeys(rate.subset for rate in rates):
        limits = "" if anchor.bpp_range is None else "; files of {:g} to {:g} bpp only".format(*anchor.bpp_range)
        table = _table(f"BD-rate against {anchor.codec}, pictures of {SUBSETS[subset]}")
        table.caption = Text(
            f"below 0: smaller than {anchor.codec} at equal quality; mean over the pictures where both reach common "
            f"qualities{limits}\nshare: part of the quality range that the value covers; to "
            "compare two codecs of different shares, make one the anchor"
        )
        table.add_column("codec")
        for metric in metrics:
            for title in (metric.title.removesuffix(" dB"), "pictures", "share"):
                table.add_column(title, justify="right")
        found: dict[str, dict[str, BdRate]] = {}
        for rate in rates:
            if rate.subset == subset:
                found.setdefault(f"{rate.codec} {rate.model}".rstrip(), {})[rate.metric] = rate
        for name, by_metric in found.items():
            if not any(rate.n_pictures for rate in by_metric.values()):
                continue
            cells = [cell for metric in metrics for cell in _bd_cells(by_metric[metric.column])]
            table.add_row(name, *cells, style="bold" if by_metric[metrics[0].column].codec == OURS else "")
        yield table


def _bd_cells(rate: BdRate) -> list[Text]:
    pictures = Text(f"{rate.n_pictures} of {rate.n_all}")
    if not rate.n_pictures:
        return [Text(""), pictures, Text("")]
    style = "green" if rate.percent < 0 else "red"
    return [Text(f"{rate.percent:+.1f} %", style), pictures, Text(f"{rate.common_range:.0%}")]
