"""Rate-quality curves as a figure: one panel per subset and metric.

A point is the mean over all pictures of the subset, of a model at one setting or of a reference codec at one setting,
see `lines`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import extra
from .comparison import Comparison
from .lines import Line, lines
from .measure import OURS, SUBSETS

if TYPE_CHECKING:
    from ..metrics import Metric

FORMATS = (".png", ".svg", ".pdf")
PANEL_INCHES = (6.2, 4.6)
DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Palette of Okabe and Ito, distinguishable with any colour vision."""
MARKERS = "so^DvPX"
BPP_TICKS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10)
SSIM_TICKS = (0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)
MAX_SSIM = 0.9999
"""Upper end of the MS-SSIM axis, on which 1 lies at infinity."""
CAPTION = (
    "Whole files; each point a mean over all pictures of the panel: ours by quality or layers, the others by setting."
)


def check_format(suffix: str) -> None:
    """Raise UsageError, before any measurement, if no figure can be drawn in the format of `suffix`."""
    if suffix.lower() not in FORMATS:
        raise UsageError(f"figure format {suffix or '(none)'}: a figure ends in .png, .svg or .pdf")
    extra.need("matplotlib.figure", "a figure")


def draw_curves(comparison: Comparison, suffix: str) -> bytes:
    """The figure in the format of `suffix`, one of FORMATS. Raises UsageError as `check_format` does.

    Reference codecs have curves if the comparison was made with an anchor or with `curves`.
    """
    check_format(suffix)
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows, metrics = comparison.rows, comparison.metrics
    subsets = [name for name in SUBSETS if any(row.subset == name for row in rows)]
    width, height = PANEL_INCHES
    layout = ConstrainedLayoutEngine(h_pad=0.1)  # inches: separates a title from the axis above it
    figure = Figure((width * len(metrics), height * len(subsets) + 0.4), DPI, layout=layout)
    panels = figure.subplots(len(subsets), len(metrics), squeeze=False)
    for row, subset in zip(panels, subsets, strict=True):
        for panel, metric in zip(row, metrics, strict=True):
            _draw_panel(panel, list(lines(rows, subset)), metric)
            n = len({row.picture for row in rows if row.subset == subset})
            panel.set_title(f"{n} picture{'s' if n > 1 else ''} of {SUBSETS[subset]}", fontsize=11)
    figure.supxlabel(CAPTION, fontsize=9, color="0.3")
    out = io.BytesIO()
    kind = suffix.lower()[1:]
    # No date and no random names in the file: equal figures are equal files.
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "vqcodec"}):
        figure.savefig(out, format=kind, metadata=undated.get(kind))
    return out.getvalue()


def _draw_panel(panel: Any, lines: Sequence[Line], metric: Metric) -> None:
    panel.set_xscale("log")
    if metric.name in ("ms-ssim", "ssim"):
        # Labels are MS-SSIM, the spacing is in decibels: near 1 equal differences matter more.
        panel.set_yscale("function", functions=(_ssim_to_db, lambda y: 1 - 10 ** (-y / 10)))
    for i, line in enumerate(lines):
        own = line.codec == OURS
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        style = {"linewidth": 2.4, "markersize": 6, "zorder": 3} if own else {"linewidth": 1.3, "markersize": 4}
        if xy := line.xy(metric.column):
            panel.plot(*zip(*xy, strict=True), color=colour, marker=marker, label=line.label, **style)
    panel.set_xlabel("rate (bits per pixel)")
    panel.set_ylabel(y_title(metric))
    _tick(panel.set_xticks, panel.get_xlim(), BPP_TICKS)
    if metric.name in ("ms-ssim", "ssim"):
        _tick(panel.set_yticks, panel.get_ylim(), SSIM_TICKS)
    panel.grid(True, color="0.9", linewidth=0.8)
    if panel.lines:
        panel.legend(fontsize=9, frameon=False, loc="lower right")


def y_title(metric: Metric) -> str:
    """Title of the axis of a metric, with its unit or range."""
    if metric.name in ("ms-ssim", "ssim"):
        return f"{metric.title} (0..1)"
    return "PSNR (dB)" if metric.name == "psnr" else metric.title


def _ssim_to_db(x: Any) -> Any:
    import numpy as np

    return -10 * np.log10(1 - np.minimum(x, MAX_SSIM))


def _tick(set_ticks: Any, limits: tuple[float, float], ticks: Sequence[float]) -> None:
    """Label those of `ticks` that lie within the limits with plain numbers."""
    low, high = limits
    inside = [tick for tick in ticks if low <= tick <= high]
    set_ticks(inside, [f"{tick:g}" for tick in inside])
    set_ticks([], minor=True)
