"""What `vqcodec eval` says: tables on stdout, and a report for programs.

Differs from eval_means.py and bd_rate.py: nothing is computed here.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from vqcodec.evaluation import bd_rate
from vqcodec.evaluation.bd_rate import Anchor, BdRate
from vqcodec.evaluation.means import Summary
from vqcodec.evaluation.measure import OURS, SUBSETS, Row

if TYPE_CHECKING:
    from vqcodec.metrics import Metric

RULE = (
    "For each vqcodec file the rival is its own largest file that is not larger, whole files counted; n/a where it has "
    "none. Means of per-picture values; a rival's beside ours over the same pictures. Rows of kind `curve` are rivals' "
    "further files, for curves alone."
)
SECONDS = {"encode_s": "encode s", "decode_s": "decode s"}
SECONDS_DIGITS = 3


@dataclass(frozen=True)
class Findings:
    """All that a run has found."""

    rows: Sequence[Row]
    summaries: Sequence[Summary]
    rivals: dict[str, str]
    """Name -> encoder, version and options."""
    skipped: Sequence[str]
    """A reason for each picture."""
    anchor: Anchor | None = None
    bd_rates: Sequence[BdRate] = ()


def show(tables: Iterable[Table]) -> None:
    """Print `tables` on stdout."""
    from rich.console import Console

    # A pipe has no width of its own, and Rich would fold columns at 80.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for table in tables:
        console.print(table, "")


def mean_tables(summaries: Sequence[Summary], metrics: Sequence[Metric], by: str = "keep") -> Iterator[Table]:
    """One table per subset and model; under each keep (or quality, by `by`) a line for ours and one for each rival."""
    seconds = [column for column in SECONDS if column in summaries[0].ours.values]
    columns = [("bpp", 4), *((metric.column, metric.digits) for metric in metrics)]
    for subset, model in dict.fromkeys((line.subset, line.model) for line in summaries):
        chosen = [line for line in summaries if (line.subset, line.model) == (subset, model)]
        table = _table(f"{model}, pictures of {SUBSETS[subset]}")
        table.caption = Text("in brackets: ours minus the rival's, over the same pictures")
        titles = ["bpp", *(metric.title for metric in metrics), *(SECONDS[column] for column in seconds)]
        for title in (by, "codec", "pictures", *titles):
            table.add_column(title, justify="left" if title == "codec" else "right")
        for line in chosen:
            n = line.ours.n_pictures
            cells = [Text(f"{line.ours.values[column]:.{digits}f}") for column, digits in columns]
            cells += [Text(f"{line.ours.values[column]:.{SECONDS_DIGITS}f}") for column in seconds]
            table.add_row(str(line.keep), OURS, str(n), *cells, style="bold")
            for name, match in line.rivals.items():
                if match is None:
                    table.add_row("", name, f"0 of {n}", *["n/a"] * len(titles))
                    continue
                cells = [_cell(match.rival.values[c], match.difference[c], digits, c) for c, digits in columns]
                cells += [Text(f"{match.rival.values[column]:.{SECONDS_DIGITS}f}") for column in seconds]
                table.add_row("", name, f"{match.rival.n_pictures} of {n}", *cells)
            table.add_section()
        yield table


def _table(title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.title = Text(title)
    return table


def _cell(value: float, difference: float, digits: int, column: str) -> Text:
    style = "green" if difference > 0 else "red" if difference < 0 else ""
    return Text(f"{value:.{digits}f}").append(f" ({difference:+.{digits}f})", "" if column == "bpp" else style)


def bd_tables(rates: Sequence[BdRate], metrics: Sequence[Metric], anchor: Anchor) -> Iterator[Table]:
    """One table per subset; a line for each model and rival."""
    for subset in dict.fromkeys(rate.subset for rate in rates):
        limits = "" if anchor.bpp_range is None else "; files of {:g} to {:g} bpp only".format(*anchor.bpp_range)
        table = _table(f"BD-rate against {anchor.codec}, pictures of {SUBSETS[subset]}")
        table.caption = Text(
            f"below 0: smaller than {anchor.codec} at equal quality; mean over the pictures where both have "
            f"qualities of ours in common, n/a: in none{limits}\nshare: of the qualities of ours, how much that is "
            "over; to compare two codecs of unlike shares, make one the anchor"
        )
        table.add_column("codec")
        for metric in metrics:
            for title in (metric.title.removesuffix(" dB"), "pictures", "share"):
                table.add_column(title, justify="right")
        lines: dict[str, dict[str, BdRate]] = {}
        for rate in rates:
            if rate.subset == subset:
                lines.setdefault(f"{rate.codec} {rate.model}".rstrip(), {})[rate.metric] = rate
        for name, by_metric in lines.items():
            cells = [cell for metric in metrics for cell in _bd_cells(by_metric[metric.column])]
            table.add_row(name, *cells, style="bold" if by_metric[metrics[0].column].codec == OURS else "")
        yield table


def _bd_cells(rate: BdRate) -> list[Text]:
    pictures = Text(f"{rate.n_pictures} of {rate.n_all}")
    if not rate.n_pictures:
        return [Text("n/a"), pictures, Text("n/a")]
    return [Text(f"{rate.percent:+.1f} %", "green" if rate.percent < 0 else "red"), pictures, Text(f"{rate.share:.0%}")]


def to_json(findings: Findings) -> bytes:
    """The whole report; an undefined value is null, an infinite PSNR the string "inf".

    Same in, same out, but for the seconds of the rows and of the means: without those, to the byte.
    """
    from vqcodec import __version__

    report = {
        "vqcodec": __version__,
        "rule": RULE,
        "rivals": findings.rivals,
        "skipped": list(findings.skipped),
        "summary": [line.record() for line in findings.summaries],
    }
    if findings.anchor is not None:
        limits = findings.anchor.bpp_range
        about = {"anchor": findings.anchor.codec, "bpp_range": limits and list(limits), "rule": bd_rate.RULE}
        report["bd_rate"] = about | {"rates": [rate.record() for rate in findings.bd_rates]}
    report["rows"] = [row.record() for row in findings.rows]
    return (json.dumps(_plain(report), indent=1, allow_nan=False) + "\n").encode()


def to_csv(findings: Findings) -> bytes:
    """The rows alone; an undefined value is empty, an infinite PSNR `inf`."""
    text = io.StringIO()
    records = [_plain(row.record()) for row in findings.rows]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    """`value` with floats that JSON has no word for replaced."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
