"""Measurement of pictures by models and reference codecs: one row per file.

Rule of comparison: each file of a model is matched with the reference codec's largest file that is not larger; where
the codec has none, there is no row. Sizes are those of complete files. Rows of curves are further files of reference
codecs, for BD-rates and figures; means do not count them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import VqcError
from ..metrics import Metric, Pixels, bpp
from .model_codec import ModelCodec
from .rate_sweep import RateSweep

OURS = "vqcodec"
"""`Row.codec` of files of models."""
SUBSETS = {"small": "under 0.5 megapixels", "hd": "0.5 megapixels and more"}
"""Subsets by picture size, which are never averaged together."""
HD_PIXELS = 500_000
"""Fewest pixels of the subset `hd`."""


def subset_of(width: int, height: int) -> str:
    """The key of SUBSETS for a picture of width x height pixels."""
    return "small" if width * height < HD_PIXELS else "hd"


@dataclass(frozen=True)
class Row:
    """One file of one picture: of a model, of a reference codec matched with it, or of a reference codec's curve."""

    picture: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    subset: str
    """A key of SUBSETS."""
    codec: str
    model: str
    """The model; in a matched row the one it is matched with, empty in a curve's row."""
    setting: float
    """Quality or number of layers of a model's file; the setting of a reference codec's file."""
    matched_with: float | None
    """In a matched row, the setting of the model's file; None in others."""
    n_bytes: int
    """Bytes of the complete file."""
    bpp: float
    scores: dict[str, float]
    """Metric.column -> score."""
    seconds: dict[str, float] = field(default_factory=dict)
    """`encode_s` and `decode_s`; empty where times are left out."""

    @property
    def kind(self) -> str:
        """`ours` (a model), `match` (a reference codec's matched file) or `curve` (a further file of one)."""
        return "match" if self.matched_with is not None else "ours" if self.codec == OURS else "curve"

    @property
    def model_setting(self) -> float:
        """The setting of the model's file that the row belongs to; of a curve's row its own."""
        return self.setting if self.matched_with is None else self.matched_with

    @property
    def values(self) -> dict[str, float]:
        """The values that means are taken of."""
        return {"bpp": self.bpp, **self.scores, **self.seconds}

    def record(self) -> dict[str, Any]:
        """Flat record in the order of a report's columns; `matched_with` is called `rival_of` there."""
        names = ("picture", "width", "height", "subset", "codec", "model", "kind", "setting")
        fields = {name: getattr(self, name) for name in names}
        return fields | {"rival_of": self.matched_with, "bytes": self.n_bytes} | self.values


@dataclass(frozen=True)
class Failure:
    """A codec that failed on a picture; its remaining files are left out."""

    picture: str
    codec: str
    """Codec, with the model if it has one."""
    reason: str

    def __str__(self) -> str:
        return f"{self.picture}: {self.codec}: {self.reason}"


def reason_of(error: Exception) -> str:
    """One line about an error."""
    text = " ".join(str(error).split()) or "no reason given"
    return text if isinstance(error, VqcError) else f"{type(error).__name__}: {text}"


def failure_of(picture: str, codec: str, error: Exception) -> Failure:
    """The failure of a codec by an error, which may begin with the codec's name."""
    return Failure(picture, codec, reason_of(error).removeprefix(f"{codec}: "))


class PictureMeasurement:
    """Measurement of one picture by models and reference codecs; rows come one by one.

    Args:
        name: name of the picture.
        pixels: uint8 [H, W, 3].
        models: each is measured at all of its settings.
        sweeps: the reference codecs' files of the picture, by the same `metrics`.
        metrics: scores of each row.
        curves: add the rows of every reference codec's curve, over the qualities of all models or, without models, over
            the codec's whole range.
    """

    def __init__(
        self,
        name: str,
        pixels: Pixels,
        models: Sequence[ModelCodec],
        sweeps: Sequence[RateSweep],
        metrics: Sequence[Metric],
        curves: bool = False,
    ) -> None:
        self.name = name
        self.pixels = pixels
        self.models = models
        self.sweeps = list(sweeps)
        """Codecs that have not failed."""
        self.metrics = metrics
        self.curves = curves
        self.failures: list[Failure] = []
        self.files: dict[tuple[str, float], bytes] = {}
        """(model, setting) -> the model's file."""

    def rows(self) -> Iterator[Row]:
        """Each file of a model and the files matched with it, then curves. Failures do not end it."""
        own: list[Row] = []
        for model in self.models:
            try:
                for row in self._model_rows(model):
                    own.append(row)
                    yield row
                    yield from self._each_codec(
                        lambda sweep, row=row: self._matched(sweep, row)  # type: ignore[misc]
                    )
            except Exception as error:  # a codec under test may fail in any way; the others go on
                self.failures.append(failure_of(self.name, f"{OURS} {model.model}", error))
        if self.curves:
            yield from self._each_codec(lambda sweep: self._curve(sweep, own))

    def _model_rows(self, model: ModelCodec) -> Iterator[Row]:
        height, width = self.pixels.shape[:2]
        for setting, data, encode_s in model.files(self.pixels):
            start = time.perf_counter()
            decoded = model.decode(data)
            seconds = {"encode_s": encode_s, "decode_s": time.perf_counter() - start}
            self.files[model.model, setting] = data
            scores = {metric.column: metric.measure(self.pixels, decoded) for metric in self.metrics}
            head = (self.name, width, height, subset_of(width, height), OURS, model.model, setting, None)
            yield Row(*head, len(data), bpp(len(data), width, height), scores, seconds)

    def _each_codec(self, rows_of: Callable[[RateSweep], Iterator[Row]]) -> Iterator[Row]:
        """The rows of every reference codec; one that fails is left out from then on."""
        for sweep in list(self.sweeps):
            try:
                yield from rows_of(sweep)
            except Exception as error:
                self.sweeps.remove(sweep)
                self.failures.append(failure_of(self.name, sweep.codec.name, error))

    def _matched(self, sweep: RateSweep, own: Row) -> Iterator[Row]:
        match = sweep.largest_within(own.n_bytes)
        if match is not None:
            yield self.codec_row(sweep, own.model, match, own.setting)

    def _curve(self, sweep: RateSweep, own: Sequence[Row]) -> Iterator[Row]:
        lowest, highest = _score_range(own, self.metrics)
        for setting in sweep.curve_settings(lowest, highest) if self.models else sweep.spread_settings():
            yield self.codec_row(sweep, "", setting, None)

    def codec_row(self, sweep: RateSweep, model: str, setting: float, matched_with: float | None) -> Row:
        """The row of a reference codec's file; of a curve if `matched_with` is None."""
        height, width = self.pixels.shape[:2]
        file = sweep.measured(setting)
        scores = {metric.column: file.scores[metric.column] for metric in self.metrics}
        head = (self.name, width, height, subset_of(width, height), sweep.codec.name, model, setting, matched_with)
        seconds = {"encode_s": file.encode_s, "decode_s": file.decode_s}
        return Row(*head, file.n_bytes, bpp(file.n_bytes, width, height), scores, seconds)


def _score_range(rows: Sequence[Row], metrics: Sequence[Metric]) -> tuple[dict[str, float], dict[str, float]]:
    """Worst and best finite score by each metric that BD-rates exist for and that has one."""
    worst: dict[str, float] = {}
    best: dict[str, float] = {}
    for metric in metrics:
        finite = [v for row in rows if math.isfinite(v := row.scores[metric.column])]
        if finite and metric.bd_rate:
            worst[metric.column] = min(finite, key=metric.goodness)
            best[metric.column] = max(finite, key=metric.goodness)
    return worst, best
