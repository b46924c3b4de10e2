"""Measurement of pictures by models and reference codecs: one row per file.

Rule of comparison: each file of a model is matched with the reference codec's largest file that is not larger; where
the codec has none, there is no row. Sizes are those of complete files. Rows of curves are further files of reference
codecs, for BD-rates and figures; means do not count them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..metrics import Metric, Pixels, bpp
from .cache import SweepCache
from .codecs import ReferenceCodec
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
    setting: int
    """Quality or number of layers of a model's file; the setting of a reference codec's file."""
    matched_with: int | None
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
    def model_setting(self) -> int:
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


def measure(
    pictures: Iterable[tuple[str, Pixels]],
    models: Sequence[ModelCodec],
    codecs: Sequence[ReferenceCodec],
    metrics: Sequence[Metric],
    *,
    curves: bool = False,
    times: bool = True,
    cache: SweepCache | None = None,
) -> list[Row]:
    """Rows in the order picture, model, setting, the model's file before the matched ones.

    Args:
        pictures: (name, uint8 [H, W, 3]); names must differ.
        models: each is measured at all of its settings.
        codecs: reference codecs, matched to the files of the models.
        metrics: scores of each row.
        curves: add, after each picture's rows, those of every reference codec's curve over the qualities of all models.
        times: False leaves the seconds out.
        cache: results of reference codecs that are not measured again.
    """
    rows: list[Row] = []
    for name, pixels in pictures:
        sweeps = [cache.load(c, pixels, metrics) if cache else RateSweep(c, pixels, metrics) for c in codecs]
        for row in measure_picture(name, pixels, models, sweeps, metrics, curves):
            rows.append(row if times else replace(row, seconds={}))
            if cache:  # after every row: a picture may take minutes, and the run may be interrupted
                for sweep in sweeps:
                    cache.store(sweep)
    return rows


def measure_picture(
    name: str,
    pixels: Pixels,
    models: Sequence[ModelCodec],
    sweeps: Sequence[RateSweep],
    metrics: Sequence[Metric],
    curves: bool = False,
) -> Iterator[Row]:
    """Rows of one picture, uint8 [H, W, 3]; `sweeps` are the reference codecs' files of it, by the same `metrics`."""
    height, width = pixels.shape[:2]
    subset = subset_of(width, height)

    def reference_row(sweep: RateSweep, model: str, setting: int, matched_with: int | None) -> Row:
        file = sweep.measured(setting)
        rate = bpp(file.n_bytes, width, height)
        scores = {metric.column: file.scores[metric.column] for metric in metrics}
        head = (name, width, height, subset, sweep.codec.name, model, setting, matched_with)
        return Row(*head, file.n_bytes, rate, scores, {"encode_s": file.encode_s, "decode_s": file.decode_s})

    own = []
    for model in models:
        for setting, data, encode_s in model.files(pixels):
            start = time.perf_counter()
            decoded = model.decode(data)
            seconds = {"encode_s": encode_s, "decode_s": time.perf_counter() - start}
            rate = bpp(len(data), width, height)
            scores = {metric.column: metric.measure(pixels, decoded) for metric in metrics}
            head = (name, width, height, subset, OURS, model.model, setting, None)
            own.append(Row(*head, len(data), rate, scores, seconds))
            yield own[-1]
            for sweep in sweeps:
                match = sweep.largest_within(len(data))
                if match is not None:
                    yield reference_row(sweep, model.model, match, setting)
    if curves:
        lowest, highest = _score_range(own)
        for sweep in sweeps:
            for setting in sweep.curve_settings(lowest, highest):
                yield reference_row(sweep, "", setting, None)


def _score_range(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, float]]:
    """Lowest and highest finite score by each metric that has one."""
    finite: dict[str, list[float]] = {}
    for row in rows:
        for column, value in row.scores.items():
            if math.isfinite(value):
                finite.setdefault(column, []).append(value)
    return {c: min(values) for c, values in finite.items()}, {c: max(values) for c, values in finite.items()}
