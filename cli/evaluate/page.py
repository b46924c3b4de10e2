"""The page of `vqcodec eval -o REPORT.html`: one file that contains curves, pictures, style and script.

The page loads nothing from the network, which its content security policy also forbids, and works from a local file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from vqcodec.evaluation.lines import Line, lines
from vqcodec.evaluation.measure import OURS, SUBSETS, Row
from vqcodec.evaluation.plot import y_title

if TYPE_CHECKING:
    from vqcodec.evaluation.comparison import Comparison
    from vqcodec.evaluation.shown import Shown
    from vqcodec.metrics import Metric


def page(
    title: str,
    comparison: Comparison,
    verdict: Sequence[str],
    skipped: Sequence[str],
    beside: Sequence[str],
    by: str = "quality",
) -> str:
    """HTML page of a comparison.

    Args:
        title: heading.
        comparison: results, with the pictures to show in `shown`.
        verdict: lines at the top.
        skipped: one line for each picture that could not be read.
        beside: names of the files written beside the page.
        by: setting of the models' files, for the curves.
    """
    data = {
        "by": by,
        "metrics": [_metric(metric) for metric in comparison.metrics],
        "subsets": [_subset(comparison.rows, name, comparison.metrics) for name in _subsets(comparison.rows)],
        "pictures": [_shown(shown) for shown in comparison.shown],
        "verdict": list(verdict),
        "problems": [*skipped, *map(str, comparison.failures)],
        "about": [f"{name}: {text}" for name, text in comparison.codecs.items()],
    }
    # "<" would let a name end the script element.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    files = resources.files(__package__)
    links = ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in beside)
    return Template(files.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        data=text,
        beside=f"All values: {links}." if links else "",
        script=files.joinpath("page.js").read_text(encoding="utf-8"),
    )


def _subsets(rows: Sequence[Row]) -> list[str]:
    return [name for name in SUBSETS if any(row.subset == name for row in rows)]


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "column": metric.column,
        "title": metric.title,
        "axis": y_title(metric),
        "digits": metric.digits,
        "lower": metric.lower_is_better,
        "curve": metric.bd_rate,
    }


def _subset(rows: Sequence[Row], name: str, metrics: Sequence[Metric]) -> dict[str, Any]:
    chosen = [row for row in rows if row.subset == name]
    return {
        "title": SUBSETS[name],
        "n": len({row.picture for row in chosen}),
        "lines": [_line(line, chosen, metrics) for line in lines(rows, name)],
    }


def _line(line: Line, rows: Sequence[Row], metrics: Sequence[Metric]) -> dict[str, Any]:
    points = []
    for setting, mean in zip(line.settings, line.points, strict=True):
        own = [r for r in rows if (r.codec, r.setting, r.kind != "match") == (line.codec, setting, True)]
        own = [r for r in own if r.model == line.model]
        worst = {m.column: _number(_worst(m, [r.scores[m.column] for r in own])) for m in metrics}
        values = {m.column: _number(mean.values[m.column]) for m in metrics}
        points.append({"setting": setting, "bpp": mean.values["bpp"], "values": values, "worst": worst})
    return {"label": line.label, "own": line.codec == OURS, "points": points}


def _worst(metric: Metric, scores: Sequence[float]) -> float:
    defined = [score for score in scores if not math.isnan(score)]
    return min(defined, key=metric.goodness) if defined else math.nan


def _number(value: float) -> float | str | None:
    """The value as JSON can hold it: null if undefined, a text if infinite."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else "∞"


def _shown(shown: Shown) -> dict[str, Any]:
    files = [
        {
            "codec": file.codec,
            "setting": file.setting,
            "target": file.target,
            "bytes": file.n_bytes,
            "scores": {column: _number(value) for column, value in file.scores.items()},
            "mime": file.mime,
            "data": file.data,
        }
        for file in shown.files
    ]
    head = {"name": shown.picture, "width": shown.width, "height": shown.height, "box": shown.box}
    return {**head, "targets": shown.targets, "original": shown.original, "files": files}
