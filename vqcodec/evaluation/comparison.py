"""The whole evaluation as one call: pictures, models and reference codecs in; rows, means and BD-rates out."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config.effort import EFFORT
from ..errors import InputError, UsageError
from ..metrics import METRICS, Metric, Pixels
from ..models import registry
from . import bd_rate, extra
from .bd_rate import Anchor, BdRate
from .cache import SweepCache
from .codecs import make_codec
from .means import Summary, summarise
from .measure import Row, measure
from .model_codec import ByLayers, ByQuality

MODEL_CODECS = {"quality": ByQuality, "keep": ByLayers}
"""Setting that a model's files are made by -> class."""
RULE = (
    "Each vqcodec file is matched with the reference codec's own largest file that is not larger, whole files counted; "
    "n/a where it has none. Means of per-picture values; a reference codec's and ours over the same pictures. Rows of "
    "kind `curve` are further files of reference codecs, for curves only."
)
"""Definition of the rows and means, for reports."""


@dataclass(frozen=True)
class Comparison:
    """Results of an evaluation."""

    rows: list[Row]
    """One per file."""
    summaries: list[Summary]
    """Means per subset, model and setting."""
    codecs: dict[str, str]
    """Name of each reference codec -> encoder, version and options."""
    metrics: list[Metric]
    anchor: Anchor | None
    bd_rates: list[BdRate]
    """Empty without an anchor."""

    def to_json(self, skipped: Sequence[str] = ()) -> bytes:
        """The report; an undefined value is null, an infinite PSNR the string "inf".

        `skipped` are the reasons why pictures were skipped. Without seconds equal inputs give equal bytes.
        """
        from .. import __version__

        report = {
            "vqcodec": __version__,
            "rule": RULE,
            "rivals": self.codecs,
            "skipped": list(skipped),
            "summary": [line.record() for line in self.summaries],
        }
        if self.anchor is not None:
            limits = self.anchor.bpp_range
            head = {"anchor": self.anchor.codec, "bpp_range": limits and list(limits), "rule": bd_rate.RULE}
            report["bd_rate"] = head | {"rates": [rate.record() for rate in self.bd_rates]}
        report["rows"] = [row.record() for row in self.rows]
        return (json.dumps(_without_nan(report), indent=1, allow_nan=False) + "\n").encode()

    def to_csv(self) -> bytes:
        """The rows only; an undefined value is empty, an infinite PSNR `inf`."""
        text = io.StringIO()
        records = [_without_nan(row.record()) for row in self.rows]
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue().encode()


def compare(
    pictures: Iterable[tuple[str, Pixels]],
    models: Sequence[str] | None = None,
    codecs: Sequence[str] = ("jpeg", "webp", "avif"),
    *,
    metrics: Sequence[str] = ("psnr", "ms-ssim"),
    anchor: str | None = "jpeg",
    bpp_range: tuple[float, float] | None = None,
    by: Literal["quality", "keep"] = "quality",
    effort: int = EFFORT,
    device: str = "cpu",
    curves: bool = False,
    times: bool = True,
    cache: str | Path | None = None,
) -> Comparison:
    """Measure models over their whole range against reference codecs.

    Args:
        pictures: (name, pixels uint8 [H, W, 3]), for example `read_pictures(["folder"])`; names must differ.
        models: names or folders; None: the bundled models.
        codecs: names of reference codecs (`vqcodec.evaluation.CODECS`).
        metrics: names of metrics (`vqcodec.metrics.METRICS`).
        anchor: the one of `codecs` that BD-rates are relative to, which needs the extra `eval`; None: no BD-rates.
        bpp_range: BD-rates over files of these bits per pixel only, (lowest, highest).
        by: the models' files: `quality`, one per quality step, or `keep`, one per number of layers.
        effort: encoder effort 1..9.
        device: torch device of the networks.
        curves: also measure the curves of reference codecs without an anchor, for `draw_curves`.
        times: False leaves seconds out.
        cache: folder that keeps the measurements of reference codecs.

    Raises:
        UsageError: an argument is unknown, or needs a package that is not installed.
        ModelError: a model is not found. InputError: there is no picture. OutputError: `cache` is not writable.
    """
    if by not in MODEL_CODECS:
        raise UsageError(f"by={by!r}: use {' or '.join(MODEL_CODECS)}")
    references = [make_codec(name) for name in codecs]
    chosen = [metric_of(name) for name in metrics]
    against = None if anchor is None else anchor_of(anchor, codecs, bpp_range)
    for model in models or ():
        registry.find(model)
    names = dict.fromkeys(models or registry.candidates())
    tested = [MODEL_CODECS[by](model, device, effort) for model in names]
    known = None if cache is None else SweepCache(Path(cache))
    for codec in tested:
        codec.prepare()
    with_curves = curves or against is not None
    rows = measure(pictures, tested, references, chosen, curves=with_curves, times=times, cache=known)
    if not rows:
        raise InputError("no pictures: give at least one")
    rates = [] if against is None else bd_rate.bd_rates(rows, codecs, chosen, against)
    about = {codec.name: codec.describe() for codec in references}
    return Comparison(rows, summarise(rows, codecs), about, chosen, against, rates)


def metric_of(name: str) -> Metric:
    """The metric called `name`. Raises UsageError."""
    if name not in METRICS:
        raise UsageError(f"no metric {name!r}; the metrics are {', '.join(METRICS)}")
    return METRICS[name]


def anchor_of(codec: str, codecs: Sequence[str], bpp_range: tuple[float, float] | None) -> Anchor:
    """The anchor of BD-rates. Raises UsageError if it is not one of `codecs` or bjontegaard is not installed."""
    if codec not in codecs:
        raise UsageError(f"{codec}: not one of the reference codecs {', '.join(codecs) or '(none)'}")
    extra.need("bjontegaard", "a BD-rate")
    return Anchor(codec, bpp_range)


def _without_nan(value: Any) -> Any:
    """`value` with the floats that JSON cannot hold replaced."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
