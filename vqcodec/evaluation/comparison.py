"""The whole evaluation as one call: pictures, models and reference codecs in; rows, means and BD-rates out."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.effort import EFFORT
from ..errors import InputError, UsageError
from ..metrics import Metric, Pixels
from ..models import registry
from . import bd_rate, extra, parallel
from .bd_rate import Anchor, BdRate
from .job import Job
from .journal import Journal, conditions_of_models
from .means import Summary, summarise
from .measure import Failure, Row
from .picture_job import MODEL_CODECS, Options, PictureResult, build, died, evaluate_picture
from .pictures import PictureReader
from .shown import Shown

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
    failures: list[Failure] = field(default_factory=list)
    """Codecs that failed on a picture."""
    shown: list[Shown] = field(default_factory=list)
    """Decoded pictures for the report."""

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
            "failed": [str(failure) for failure in self.failures],
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


@dataclass(frozen=True)
class Running:
    """Way of running an evaluation, without effect on its results except for seconds."""

    workers: int = 1
    """Worker processes; 1: no process of its own."""
    threads: int = 1
    """CPU threads of each worker process."""
    journal: Path | None = None
    """File that keeps finished pictures until the run is complete; an equal run continues from it."""
    on_progress: Callable[[float, float], None] = lambda done, total: None
    """Called with (work done, work in all)."""
    on_result: Callable[[PictureResult, bool], None] = lambda result, known: None
    """Called with each finished picture, and True if the journal had it."""


def compare(
    pictures: Iterable[tuple[str, Pixels]],
    models: Sequence[str] | None = None,
    codecs: Sequence[str] = ("jpeg", "webp", "avif"),
    *,
    metrics: Sequence[str] = ("psnr", "ms-ssim"),
    weights: Sequence[str | Path] = (),
    anchor: str | None = "jpeg",
    bpp_range: tuple[float, float] | None = None,
    by: Literal["quality", "keep"] = "quality",
    points: int | None = None,
    effort: int = EFFORT,
    device: str = "cpu",
    curves: bool = False,
    times: bool = True,
    cache: str | Path | None = None,
    n_shown: int = 0,
    running: Running | None = None,
) -> Comparison:
    """Measure models over their whole range against reference codecs, or reference codecs alone.

    A codec that fails on a picture is reported in `failures`; the others go on.

    Args:
        pictures: (name, pixels uint8 [H, W, 3]), for example `read_pictures(["folder"])`; names must differ.
        models: names or folders; None: the default model; empty: reference codecs alone.
        codecs: names of reference codecs (`vqcodec.evaluation.CODECS`), `NAME=ENCODE => DECODE` for two commands, or
            `NAME=FOLDER` for decoded pictures.
        metrics: names of metrics (`vqcodec.evaluation.quality.NAMES`).
        weights: files of published weights for the metrics that need them.
        anchor: the one of `codecs` that BD-rates are relative to, which needs the extra `eval`; None: no BD-rates.
        bpp_range: BD-rates over files of these bits per pixel only, (lowest, highest).
        by: the models' files: `quality`, one per quality step, or `keep`, one per number of layers.
        points: quality steps measured, evenly spaced over the range; None: all.
        effort: encoder effort 1..9.
        device: torch device of the networks.
        curves: also measure the curves of reference codecs without an anchor, for `draw_curves`.
        times: False leaves seconds out.
        cache: folder that keeps the measurements of reference codecs.
        n_shown: pictures whose decoded files are returned in `shown`, the first ones.
        running: processes, journal and progress; None: in this process.

    Raises:
        UsageError: an argument is unknown, or needs a package that is not installed.
        ModelError: a model is not found. OutputError: `cache` or the journal is not writable.
        InputError: there is no picture, or every codec failed on every picture.
    """
    if by not in MODEL_CODECS:
        raise UsageError(f"by={by!r}: use {' or '.join(MODEL_CODECS)}")
    if models is not None and not models and not codecs:
        raise UsageError("nothing to measure: name a model or a codec")
    names = (registry.DEFAULT_MODEL,) if models is None else tuple(dict.fromkeys(models))
    for name in names:
        registry.find(name)
    with_curves = curves or anchor is not None or not names
    paths, stored = tuple(map(Path, weights)), None if cache is None else Path(cache)
    options = Options(
        names, tuple(codecs), tuple(metrics), paths, by, points, effort, device, with_curves, times, stored
    )
    bench = build(options)
    about = {codec.name: codec.describe() for codec in bench.codecs}
    against = None if anchor is None else anchor_of(anchor, list(about), bpp_range)
    results = run_pictures(pictures, options, about, n_shown, running or Running())
    rows = [row for result in results for row in result.rows]
    failures = [failure for result in results for failure in result.failures]
    if not rows:
        raise InputError(str(failures[0]) if failures else "no pictures: give at least one")
    chosen = list(bench.metrics)
    rated = [metric for metric in chosen if metric.bd_rate]
    rates = bd_rate.bd_rates(rows, list(about), rated, against) if against is not None and rated else []
    shown = [result.shown for result in results if result.shown is not None]
    return Comparison(rows, summarise(rows, list(about)), about, chosen, against, rates, failures, shown)


def run_pictures(
    pictures: Iterable[tuple[str, Pixels]], options: Options, about: dict[str, str], n_shown: int, running: Running
) -> list[PictureResult]:
    """The results of all pictures in the order of `pictures`; `about` describes the codecs."""
    journal = None if running.journal is None else Journal(running.journal, _conditions(options, about))
    progress = Progress(pictures, running.on_progress)
    order: list[str] = []
    results: dict[str, PictureResult] = {}
    jobs: dict[str, Job] = {}

    def finish(result: PictureResult, known: bool) -> None:
        results[result.picture] = result
        running.on_result(result, known)
        progress.advance(result.picture, 1)

    def todo() -> Iterator[Job]:
        for name, pixels in pictures:
            job = Job(name, pixels, len(order) < n_shown)
            order.append(name)
            record = None if journal is None else journal.find(job)
            if record is not None:
                finish(PictureResult.of_record(record), True)
                continue
            jobs[name] = job
            yield job

    work = functools.partial(evaluate_picture, options)
    for result in parallel.run(todo(), work, died, running.workers, running.threads, progress.advance):
        job = jobs.pop(result.picture)
        if journal is not None and not result.failures:  # what failed is tried again
            journal.add(job, result.record())
        finish(result, False)
    return [results[name] for name in order]


def _conditions(options: Options, about: dict[str, str]) -> list[Any]:
    """Everything that the result of a picture depends on except the picture, as JSON can hold it."""
    # The cache holds equal results, wherever it is.
    chosen = {key: str(value) for key, value in asdict(options).items() if key != "cache"}
    return [chosen, about, conditions_of_models(options.models)]


class Progress:
    """Work done so far: pixels of the pictures, each weighted by the share of its files that are measured."""

    def __init__(self, pictures: Iterable[tuple[str, Pixels]], report: Callable[[float, float], None]) -> None:
        self.work = pictures.work() if isinstance(pictures, PictureReader) else {}
        self.total = float(sum(self.work.values()))
        self.shares: dict[str, float] = {}
        self.report = report

    def advance(self, name: str, share: float) -> None:
        """Set the share of a picture, 0..1."""
        self.shares[name] = max(share, self.shares.get(name, 0))
        if self.total:
            done = sum(self.work.get(known, 0) * part for known, part in self.shares.items())
            self.report(min(done, self.total), self.total)


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
