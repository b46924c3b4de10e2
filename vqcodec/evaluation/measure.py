"""Pictures in, rows of measurements out.

Differs from evaluate.py: no files, no options, no output. The rule of comparison: for each of our files the rival is
its own largest file that is not larger than ours; where it has none, there is no row. Rows of a rival's curve are
beside this comparison: bd_rate.py and eval_plot.py use them, eval_means.py does not. Sizes are of whole files.

Seconds are wall time of the call that makes or reads one file in memory. Models are loaded by then. The encoder network
runs once a picture; it counts in full in each of the picture's files, as it does where only one of them is made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from vqcodec.metrics import Metric, Pixels, bpp
from vqcodec.models.ladder import EFFORT

from .cache import RivalCache
from .codecs import Rival
from .rate_sweep import Ladder

OURS = "vqcodec"
SUBSETS = {"small": "under 0.5 megapixels", "hd": "0.5 megapixels and more"}
HD_PIXELS = 500_000


def subset_of(width: int, height: int) -> str:
    """`small` or `hd`; the two are never averaged together."""
    return "small" if width * height < HD_PIXELS else "hd"


class Codec(Protocol):
    """Our side: one model, and its files by a setting, keep or quality."""

    model: str

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        """uint8 [H, W, 3] -> (setting, whole file, seconds to make it), smallest first."""
        ...

    def decode(self, data: bytes) -> Pixels:
        """One whole file -> uint8 [H, W, 3]."""
        ...


class Vqc:
    """`Codec` over the public API: a file for every number of layers; the encoder network runs once a picture."""

    def __init__(self, model: str, device: str = "cpu", effort: int = EFFORT) -> None:
        self.model = model
        self.device = device
        self.effort = effort

    def prepare(self) -> None:
        """Use the model once on a small picture, so that no picture's seconds hold what happens once a process."""
        for _, data, _ in self.files(np.zeros((64, 64, 3), np.uint8)):
            self.decode(data)

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        import vqcodec
        from vqcodec.models import registry

        registry.load_model(self.model)  # before the clock starts: of many models, few stay loaded
        _ = registry.load_model(self.model, self.device).tokenizer
        start = time.perf_counter()
        tokens = vqcodec.tokenize(pixels, model=self.model, effort=self.effort, device=self.device)
        network_s = time.perf_counter() - start
        for keep in range(1, tokens.n_layers + 1):
            start = time.perf_counter()
            data = vqcodec.encode_tokens(tokens, keep=keep)
            yield keep, data, network_s + time.perf_counter() - start

    def decode(self, data: bytes) -> Pixels:
        import vqcodec
        from vqcodec import container
        from vqcodec.models import registry
        from vqcodec.tokens.tokens import read_tokens

        # Not `vqcodec.decode`: it knows a model by its identity, and so never one that is named by its folder.
        # The limit guards against strangers' files; this one was made here.
        tokens = read_tokens(container.read(data, max_pixels=None), registry.load_model(self.model))
        shown = vqcodec.detokenize(replace(tokens, model=self.model), device=self.device)
        return np.asarray(shown.convert("RGB"))


class VqcByQuality(Vqc):
    """A file for every step of the model's ladder instead, under its quality."""

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        from vqcodec.encoder.build import encoder_of
        from vqcodec.image.picture import as_picture

        start = time.perf_counter()
        encoding = encoder_of(as_picture(pixels), self.model, self.device, self.effort)
        network_s = time.perf_counter() - start
        for i, place in enumerate(encoding.ladder):
            start = time.perf_counter()
            data = encoding.step(i)
            yield place.quality, data, network_s + time.perf_counter() - start


@dataclass(frozen=True)
class Row:
    """One file of one picture: ours, the rival's that stands against it, or one of a rival's curve."""

    picture: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    subset: str
    """A key of `SUBSETS`."""
    codec: str
    model: str
    """Our model; in a rival's row, the one it stands against, empty in a curve's."""
    setting: int
    """Ours: keep or quality. A rival's: its setting."""
    rival_of: int | None
    """In a rival's row, the keep of our file; None in ours and in a curve's."""
    n_bytes: int
    """Whole file."""
    bpp: float
    scores: dict[str, float]
    """By `Metric.column`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """`encode_s` and `decode_s`, or nothing where times are left out."""

    @property
    def kind(self) -> str:
        """`ours`, `match` (a rival's file against ours) or `curve` (one more of a rival's files)."""
        return "match" if self.rival_of is not None else "ours" if self.codec == OURS else "curve"

    @property
    def keep(self) -> int:
        return self.setting if self.rival_of is None else self.rival_of

    @property
    def values(self) -> dict[str, float]:
        """What means are taken of."""
        return {"bpp": self.bpp, **self.scores, **self.seconds}

    def record(self) -> dict[str, Any]:
        """Flat, in the order of a report's columns."""
        names = ("picture", "width", "height", "subset", "codec", "model", "kind", "setting", "rival_of")
        fields = {name: getattr(self, name) for name in names} | {"bytes": self.n_bytes}
        return fields | self.values


def measure(
    pictures: Iterable[tuple[str, Pixels]],
    codecs: Sequence[Codec],
    rivals: Sequence[Rival],
    metrics: Sequence[Metric],
    *,
    curves: bool = False,
    times: bool = True,
    cache: RivalCache | None = None,
) -> list[Row]:
    """All rows, in the order picture, model, keep, ours before the rivals; names of pictures must differ.

    With `curves` there follow, after each picture's, those of every rival's curve over the qualities of all of ours.
    Without `times` rows have no seconds. Rivals' files that `cache` knows are not made again.
    """
    rows: list[Row] = []
    for name, pixels in pictures:
        ladders = [cache.ladder(r, pixels, metrics) if cache else Ladder(r, pixels, metrics) for r in rivals]
        for row in measure_picture(name, pixels, codecs, ladders, metrics, curves):
            rows.append(row if times else replace(row, seconds={}))
            if cache:  # now, since a picture may take minutes and the run be ended meanwhile
                for ladder in ladders:
                    cache.keep(ladder)
    return rows


def measure_picture(
    name: str,
    pixels: Pixels,
    codecs: Sequence[Codec],
    ladders: Sequence[Ladder],
    metrics: Sequence[Metric],
    curves: bool = False,
) -> Iterator[Row]:
    """The rows of one picture, uint8 [H, W, 3]; `ladders` are the rivals' files of it, by the same `metrics`."""
    height, width = pixels.shape[:2]
    subset = subset_of(width, height)

    def rival_row(ladder: Ladder, model: str, setting: int, rival_of: int | None) -> Row:
        file = ladder.measured(setting)
        rate = bpp(file.n_bytes, width, height)
        scores = {metric.column: file.scores[metric.column] for metric in metrics}
        about = (name, width, height, subset, ladder.rival.name, model, setting, rival_of)
        return Row(*about, file.n_bytes, rate, scores, {"encode_s": file.encode_s, "decode_s": file.decode_s})

    ours = []
    for codec in codecs:
        for keep, data, encode_s in codec.files(pixels):
            start = time.perf_counter()
            decoded = codec.decode(data)
            seconds = {"encode_s": encode_s, "decode_s": time.perf_counter() - start}
            rate = bpp(len(data), width, height)
            scores = {metric.column: metric.measure(pixels, decoded) for metric in metrics}
            about = (name, width, height, subset, OURS, codec.model, keep, None)
            ours.append(Row(*about, len(data), rate, scores, seconds))
            yield ours[-1]
            for ladder in ladders:
                setting = ladder.largest_within(len(data))
                if setting is not None:
                    yield rival_row(ladder, codec.model, setting, keep)
    if curves:
        lowest, highest = _range(ours)
        for ladder in ladders:
            for setting in ladder.span(lowest, highest):
                yield rival_row(ladder, "", setting, None)


def _range(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, float]]:
    """The lowest and the highest score by each metric that is finite somewhere."""
    finite: dict[str, list[float]] = {}
    for row in rows:
        for column, value in row.scores.items():
            if math.isfinite(value):
                finite.setdefault(column, []).append(value)
    return {c: min(values) for c, values in finite.items()}, {c: max(values) for c, values in finite.items()}
