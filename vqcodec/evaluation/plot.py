"""The picture that `vqcodec eval --plot` writes: rate against each metric, a panel per subset and metric.

A point is a mean over all pictures of the subset: of ours at one keep, of a rival's at one setting. A rival's setting
that was not measured for all of them is left out, so that no curve changes its pictures on the way.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqcodec.errors import UsageError

from . import extra
from .means import Mean, Summary
from .measure import OURS, SUBSETS, Row

if TYPE_CHECKING:
    from vqcodec.metrics import Metric

FORMATS = (".png", ".svg", ".pdf")
PANEL_INCHES = (6.2, 4.6)
DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which people with any colour vision can tell apart."""
MARKERS = "so^DvPX"
BPP_TICKS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10)
SSIM_TICKS = (0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)
MOST_SSIM = 0.9999
"""Ends the axis that would have 1 at infinity."""
CAPTION = (
    "Whole files; each point a mean over all pictures of the panel: ours by quality or layers, the others by setting."
)


def check(target: Path) -> None:
    """Raise UsageError now, before any work, if no such figure could be made later."""
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"--plot {target}: a figure ends in .png, .svg or .pdf")
    extra.need("matplotlib.figure", "--plot")


@dataclass(frozen=True)
class Line:
    """One codec in the panels of a subset."""

    codec: str
    model: str
    points: tuple[Mean, ...]
    """By keep or setting."""

    def xy(self, column: str) -> list[tuple[float, float]]:
        """(bpp, value) of the points that have a finite one."""
        values = [(point.values["bpp"], point.values[column]) for point in self.points]
        return [(bpp, value) for bpp, value in values if math.isfinite(value)]


def lines(rows: Sequence[Row], summaries: Sequence[Summary], subset: str) -> Iterator[Line]:
    """Ours, a line for each model, then the rivals."""
    own = [line for line in summaries if line.subset == subset]
    for model in dict.fromkeys(line.model for line in own):
        yield Line(OURS, model, tuple(line.ours for line in own if line.model == model))
    n_all = len({row.picture for row in rows if row.subset == subset})
    settings: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        if row.subset == subset and row.kind == "curve":
            settings.setdefault(row.codec, {}).setdefault(row.setting, []).append(row)
    for codec, by_setting in settings.items():
        yield Line(codec, "", tuple(Mean.of(found) for _, found in sorted(by_setting.items()) if len(found) == n_all))


def draw(rows: Sequence[Row], summaries: Sequence[Summary], metrics: Sequence[Metric], suffix: str) -> bytes:
    """A figure in the format of `suffix`, one of `FORMATS`; `check` has found matplotlib."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    subsets = [name for name in SUBSETS if any(line.subset == name for line in summaries)]
    width, height = PANEL_INCHES
    figure = Figure((width * len(metrics), height * len(subsets) + 0.4), DPI, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # inches; a title stands apart from the axis above it
    panels = figure.subplots(len(subsets), len(metrics), squeeze=False)
    for row, subset in zip(panels, subsets, strict=True):
        for panel, metric in zip(row, metrics, strict=True):
            _draw_panel(panel, list(lines(rows, summaries, subset)), metric)
            n = len({row.picture for row in rows if row.subset == subset})
            panel.set_title(f"{n} picture{'s' if n > 1 else ''} of {SUBSETS[subset]}", fontsize=11)
    figure.supxlabel(CAPTION, fontsize=9, color="0.3")
    out = io.BytesIO()
    kind = suffix.lower()[1:]
    # Neither a date nor random names inside: the same figure is the same file.
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "vqcodec"}):
        figure.savefig(out, format=kind, metadata=undated.get(kind))
    return out.getvalue()


def _draw_panel(panel: Any, lines: Sequence[Line], metric: Metric) -> None:
    panel.set_xscale("log")
    if metric.name == "ms-ssim":
        # Values as they are, spaced as decibels: near 1 differences count for more.
        panel.set_yscale("function", functions=(_ssim_to_db, lambda y: 1 - 10 ** (-y / 10)))
    for i, line in enumerate(lines):
        own = line.codec == OURS
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        style = {"linewidth": 2.4, "markersize": 6, "zorder": 3} if own else {"linewidth": 1.3, "markersize": 4}
        label = f"{line.codec} {line.model}".rstrip()
        if xy := line.xy(metric.column):
            panel.plot(*zip(*xy, strict=True), color=colour, marker=marker, label=label, **style)
    panel.set_xlabel("rate (bits per pixel)")
    panel.set_ylabel("PSNR (dB)" if metric.name == "psnr" else f"{metric.title} (0..1)")
    _tick(panel.set_xticks, panel.get_xlim(), BPP_TICKS)
    if metric.name == "ms-ssim":
        _tick(panel.set_yticks, panel.get_ylim(), SSIM_TICKS)
    panel.grid(True, color="0.9", linewidth=0.8)
    if panel.lines:
        panel.legend(fontsize=9, frameon=False, loc="lower right")


def _ssim_to_db(x: Any) -> Any:
    import numpy as np

    return -10 * np.log10(1 - np.minimum(x, MOST_SSIM))


def _tick(set_ticks: Any, limits: tuple[float, float], ticks: Sequence[float]) -> None:
    """Those of `ticks` within the limits, as plain numbers."""
    low, high = limits
    inside = [tick for tick in ticks if low <= tick <= high]
    set_ticks(inside, [f"{tick:g}" for tick in inside])
    set_ticks([], minor=True)
