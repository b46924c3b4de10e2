"""Outputs of `eval`: tables or JSON on stdout, and the report with the files beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqcodec import remote
from vqcodec.errors import UsageError

from .. import files, messages
from ..streams import to_stdout

if TYPE_CHECKING:
    from vqcodec.evaluation.comparison import Comparison

SUFFIXES = (".html", ".json", ".csv")
BESIDE = (".json", ".csv", ".svg")
"""Files that are written beside an .html report."""


def journal_of(report: Path | None) -> Path | None:
    """File beside a report that keeps finished pictures until it is written; None behind a URL: objects do not grow."""
    if report is None or remote.url_of(report) is not None:
        return None
    return report.with_name(report.name + ".partial")


@dataclass(frozen=True)
class Outputs:
    """Files to write."""

    report: Path | None
    plot: Path | None
    force: bool

    def check(self) -> None:
        """Raise UsageError or OutputError, before any measurement, if a file cannot be written."""
        from vqcodec.evaluation.plot import check_format

        if self.report is not None:
            if self.report.suffix.lower() not in SUFFIXES:
                raise UsageError(f"-o {self.report}: a report ends in .html, .json or .csv")
            for path in [self.report, *self.beside]:
                files.check_target(path, self.force)
        if self.plot is not None:
            try:
                check_format(self.plot.suffix)
            except UsageError as error:
                raise UsageError(f"--plot {self.plot}: {error}") from error
            files.check_target(self.plot, self.force)

    @property
    def has_page(self) -> bool:
        """True if the report is a web page."""
        return self.report is not None and self.report.suffix.lower() == ".html"

    @property
    def beside(self) -> list[Path]:
        """Files beside the page; without the package for figures no .svg."""
        from vqcodec.evaluation import extra

        if not self.has_page or self.report is None:
            return []
        try:
            extra.need("matplotlib.figure", "a figure")
        except UsageError:
            return [self.report.with_suffix(suffix) for suffix in BESIDE if suffix != ".svg"]
        return [self.report.with_suffix(suffix) for suffix in BESIDE]

    @property
    def journal(self) -> Path | None:
        """File that keeps finished pictures while the evaluation runs; None without one."""
        return journal_of(self.report)

    @property
    def written(self) -> list[Path]:
        """The files that `write` makes."""
        report = [] if self.report is None else [self.report, *self.beside]
        return report if self.plot is None else [self.plot, *report]

    def write(self, comparison: Comparison, lines: list[str], skipped: list[str], by: str) -> None:
        """Write all files, then remove the journal. Raises OutputError."""
        from vqcodec.evaluation.plot import draw_curves

        if self.plot is not None:
            files.write_new(self.plot, draw_curves(comparison, self.plot.suffix), self.force)
        if self.report is None:
            return
        for path in [*self.beside, self.report]:
            suffix = path.suffix.lower()
            if suffix == ".json":
                data = comparison.to_json(skipped)
            elif suffix == ".csv":
                data = comparison.to_csv()
            elif suffix == ".svg":
                data = draw_curves(comparison, suffix)
            else:
                data = self._page(comparison, lines, skipped, by)
            files.write_new(path, data, self.force)
        if self.journal is not None:
            self.journal.unlink(missing_ok=True)

    def _page(self, comparison: Comparison, lines: list[str], skipped: list[str], by: str) -> bytes:
        from .page import page

        names = ", ".join(dict.fromkeys([*(row.codec for row in comparison.rows)]))
        beside = [path.name for path in self.beside]
        return page(f"Evaluation: {names}", comparison, lines, skipped, beside, by).encode()


def print_results(comparison: Comparison, lines: list[str], skipped: list[str], by: str, as_json: bool) -> None:
    """Print the report as one JSON object, or tables that end with failures and the verdict."""
    from . import tables

    if as_json:
        to_stdout(json.dumps(json.loads(comparison.to_json(skipped)) | {"verdict": lines}))
        return
    if comparison.summaries:
        tables.show(tables.mean_tables(comparison.summaries, comparison.metrics, by))
    else:
        tables.show(tables.codec_tables(comparison.rows, comparison.metrics))
    if comparison.anchor is not None:
        rated = [metric for metric in comparison.metrics if metric.bd_rate]
        tables.show(tables.bd_tables(comparison.bd_rates, rated, comparison.anchor))
    for failure in comparison.failures:
        messages.print_line(f"failed: {failure}")
    for line in lines:
        messages.print_line(f"verdict: {line}")
