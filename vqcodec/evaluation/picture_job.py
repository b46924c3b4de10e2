"""Evaluation of one picture, in this process or a worker: options in; rows, failures and pictures for the report out.

Options are plain values, so that they travel to worker processes; each process builds codecs and metrics once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..config.effort import EFFORT
from ..errors import VqcError
from ..metrics import Metric
from .cache import SweepCache
from .codecs import ReferenceCodec, make_codec
from .job import Job
from .measure import Failure, PictureMeasurement, Row, failure_of
from .model_codec import ByLayers, ByQuality, ModelCodec
from .quality import metric_of
from .rate_sweep import RateSweep
from .shown import Shown, shown_of

MODEL_CODECS = {"quality": ByQuality, "keep": ByLayers}
"""Setting that a model's files are made by -> class."""


@dataclass(frozen=True)
class Options:
    """Options of an evaluation, equal for all pictures; see `comparison.compare`."""

    models: tuple[str, ...]
    codecs: tuple[str, ...]
    """Names and commands of codecs, in the form that `codecs.make_codec` reads."""
    metrics: tuple[str, ...]
    weights: tuple[Path, ...] = ()
    by: str = "quality"
    points: int | None = None
    effort: int = EFFORT
    device: str = "cpu"
    curves: bool = False
    times: bool = True
    cache: Path | None = None


@dataclass(frozen=True)
class Bench:
    """Codecs, metrics and cache that the options name."""

    models: tuple[ModelCodec, ...]
    codecs: tuple[ReferenceCodec, ...]
    metrics: tuple[Metric, ...]
    cache: SweepCache | None


@functools.lru_cache(maxsize=1)
def build(options: Options) -> Bench:
    """The bench of `options`.

    Raises UsageError, ModelError, InputError or OutputError if one cannot be made.
    """
    codec = MODEL_CODECS[options.by]
    models = tuple(codec(name, options.device, options.effort, options.points) for name in options.models)
    codecs = tuple(make_codec(name) for name in options.codecs)
    metrics = tuple(metric_of(name, options.weights) for name in options.metrics)
    return Bench(models, codecs, metrics, None if options.cache is None else SweepCache(options.cache))


@functools.lru_cache(maxsize=1)
def build_warm(options: Options) -> Bench:
    """The bench of `options`, its models run once on a small picture if seconds count."""
    bench = build(options)
    if options.times:
        for model in bench.models:
            model.prepare()
    return bench


@dataclass(frozen=True)
class PictureResult:
    """Results of one picture."""

    picture: str
    rows: list[Row]
    failures: list[Failure]
    shown: Shown | None = None
    """Pictures for the report."""

    def record(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> PictureResult:
        """Undo `record`."""
        rows = [Row(**row) for row in record["rows"]]
        failures = [Failure(**failure) for failure in record["failures"]]
        shown = None if record["shown"] is None else Shown.of_record(record["shown"])
        return cls(record["picture"], rows, failures, shown)


def evaluate_picture(options: Options, job: Job, advance: Callable[[float], None] = lambda _: None) -> PictureResult:
    """Measure one picture; `advance` gets the share of the work done, 0..1. Failures are part of the result."""
    bench = build_warm(options)
    failures = []
    sweeps = []
    for codec in bench.codecs:
        try:
            own = codec.for_picture(job.name)
            cached = bench.cache.load(own, job.pixels, bench.metrics) if bench.cache else None
            sweeps.append(cached or RateSweep(own, job.pixels, bench.metrics))
        except VqcError as error:
            failures.append(failure_of(job.name, codec.name, error))
    measurement = PictureMeasurement(job.name, job.pixels, bench.models, sweeps, bench.metrics, options.curves)
    expected = sum(model.n_files for model in bench.models) or 10 * len(sweeps)
    rows: list[Row] = []
    done = 0
    for row in measurement.rows():
        rows.append(row if options.times else replace(row, seconds={}))
        done += row.kind == "ours" or not bench.models
        advance(min(done / (expected + 1), 1))
        if bench.cache:  # after every row: a picture may take minutes, and the run may be interrupted
            for sweep in measurement.sweeps:
                bench.cache.store(sweep)
    shown = shown_of(measurement, rows) if job.show and rows else None
    return PictureResult(job.name, rows, failures + measurement.failures, shown)


def died(job: Job, reason: str) -> PictureResult:
    """The result of a picture whose worker process died."""
    return PictureResult(job.name, [], [Failure(job.name, "all codecs", reason)])
