"""Pictures in, rows of measurements out, and the means that a fair comparison prints.

Differs from evaluate.py: no files, no options, no output. The rule of comparison: for each of our files the rival is
its own largest file that is not larger than ours; where it has none, there is no row and the means say n/a. A mean
of a rival stands beside ours over the same pictures. Sizes are of whole files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from vqcodec.metrics import Metric, Pixels, bpp

from .rivals import Ladder, Rival

OURS = "vqcodec"
SUBSETS = {"small": "under 0.5 megapixels", "hd": "0.5 megapixels and more"}
HD_PIXELS = 500_000


def subset_of(width: int, height: int) -> str:
    """`small` or `hd`; the two are never averaged together."""
    return "small" if width * height < HD_PIXELS else "hd"


class Codec(Protocol):
    """Our side: one model, a file for every keep."""

    model: str

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes]]:
        """uint8 [H, W, 3] -> (keep, whole file), from keep 1 to all layers."""
        ...

    def decode(self, data: bytes) -> Pixels:
        """One whole file -> uint8 [H, W, 3]."""
        ...


class Vqc:
    """`Codec` over the public API; the encoder network runs once a picture."""

    def __init__(self, model: str, device: str = "cpu") -> None:
        self.model = model
        self.device = device

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes]]:
        import vqcodec

        tokens = vqcodec.tokenize(pixels, model=self.model, device=self.device)
        for keep in range(1, tokens.n_layers + 1):
            yield keep, vqcodec.encode_tokens(tokens, keep=keep)

    def decode(self, data: bytes) -> Pixels:
        import vqcodec
        from vqcodec import container, registry
        from vqcodec.tokens import read_tokens

        # Not `vqcodec.decode`: it knows a model by its identity, and so never one that is named by its folder.
        # The limit guards against strangers' files; this one was made here.
        tokens = read_tokens(container.read(data, max_pixels=None), registry.load_model(self.model))
        shown = vqcodec.detokenize(replace(tokens, model=self.model), device=self.device)
        return np.asarray(shown.convert("RGB"))


@dataclass(frozen=True)
class Row:
    """One file of one picture, ours or the rival's that stands against it."""

    picture: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    subset: str
    """A key of `SUBSETS`."""
    codec: str
    model: str
    """Our model; in a rival's row, the one it stands against."""
    setting: int
    """Ours: keep. A rival's: its setting."""
    rival_of: int | None
    """In a rival's row, the keep of our file; None in ours."""
    n_bytes: int
    """Whole file."""
    bpp: float
    scores: dict[str, float]
    """By `Metric.column`."""

    @property
    def keep(self) -> int:
        return self.setting if self.rival_of is None else self.rival_of

    @property
    def values(self) -> dict[str, float]:
        """What means are taken of."""
        return {"bpp": self.bpp, **self.scores}

    def record(self) -> dict[str, Any]:
        """Flat, in the order of a report's columns."""
        fields = {name: getattr(self, name) for name in ("picture", "width", "height", "subset", "codec", "model")}
        fields |= {"setting": self.setting, "rival_of": self.rival_of, "bytes": self.n_bytes}
        return fields | self.values


def measure(
    pictures: Iterable[tuple[str, Pixels]], codecs: Sequence[Codec], rivals: Sequence[Rival], metrics: Sequence[Metric]
) -> list[Row]:
    """All rows, in the order picture, model, keep, ours before the rivals. Names of pictures must differ."""
    return [row for name, pixels in pictures for row in measure_picture(name, pixels, codecs, rivals, metrics)]


def measure_picture(
    name: str, pixels: Pixels, codecs: Sequence[Codec], rivals: Sequence[Rival], metrics: Sequence[Metric]
) -> Iterator[Row]:
    """The rows of one picture, uint8 [H, W, 3]; no file of a rival is encoded or measured twice."""
    height, width = pixels.shape[:2]
    ladders = {rival.name: Ladder(rival, pixels) for rival in rivals}
    known: dict[tuple[str, int], dict[str, float]] = {}

    def row(codec: str, model: str, setting: int, rival_of: int | None, data: bytes, scores: dict[str, float]) -> Row:
        rate = bpp(len(data), width, height)
        subset = subset_of(width, height)
        return Row(name, width, height, subset, codec, model, setting, rival_of, len(data), rate, scores)

    def scores_of(decoded: Pixels) -> dict[str, float]:
        return {metric.column: metric.measure(pixels, decoded) for metric in metrics}

    for codec in codecs:
        for keep, data in codec.files(pixels):
            yield row(OURS, codec.model, keep, None, data, scores_of(codec.decode(data)))
            for rival in rivals:
                ladder = ladders[rival.name]
                setting = ladder.largest_within(len(data))
                if setting is None:
                    continue
                file, key = ladder.file(setting), (rival.name, setting)
                if key not in known:
                    known[key] = scores_of(rival.decode(file))
                yield row(rival.name, codec.model, setting, keep, file, known[key])


@dataclass(frozen=True)
class Mean:
    """Means of per-picture values over `n_pictures`.

    A value that is undefined for a picture (nan) is left out of its mean; this depends on the picture's size alone, so
    both sides of a comparison leave out the same ones. An infinite PSNR makes the mean infinite.
    """

    n_pictures: int
    values: dict[str, float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Mean:
        columns = list(rows[0].values)
        return cls(len(rows), {column: _mean([row.values[column] for row in rows]) for column in columns})


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


@dataclass(frozen=True)
class Match:
    """A rival and ours over the same pictures: those where the rival has a file not larger than ours."""

    rival: Mean
    ours: Mean

    @property
    def difference(self) -> dict[str, float]:
        """Ours minus the rival's."""
        return {column: value - self.rival.values[column] for column, value in self.ours.values.items()}


@dataclass(frozen=True)
class Summary:
    """One keep of one model over one subset."""

    subset: str
    model: str
    keep: int
    ours: Mean
    """Over all pictures of the subset."""
    rivals: dict[str, Match | None]
    """None where the rival has no file for any picture."""

    def record(self) -> dict[str, Any]:
        """As a report holds it."""
        rivals = {
            name: match
            and {
                "pictures": match.rival.n_pictures,
                **match.rival.values,
                "ours_there": match.ours.values,
                "ours_minus_rival": match.difference,
            }
            for name, match in self.rivals.items()
        }
        fields = {"subset": self.subset, "model": self.model, "keep": self.keep, "pictures": self.ours.n_pictures}
        return fields | self.ours.values | {"rivals": rivals}


def summarise(rows: Sequence[Row], rivals: Sequence[str]) -> list[Summary]:
    """Means per subset, model and keep; `rivals` are the names that were asked for, with or without a file."""
    ours: dict[tuple[str, str, int], dict[str, Row]] = {}
    theirs: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in rows:
        key = (row.subset, row.model, row.keep)
        if row.rival_of is None:
            ours.setdefault(key, {})[row.picture] = row
        else:
            theirs.setdefault((*key, row.codec), []).append(row)
    models = list(dict.fromkeys(row.model for row in rows))
    order = sorted(ours, key=lambda key: (list(SUBSETS).index(key[0]), models.index(key[1]), key[2]))
    summaries = []
    for key in order:
        matches: dict[str, Match | None] = {}
        for name in rivals:
            found = theirs.get((*key, name), [])
            beside = [ours[key][row.picture] for row in found]
            matches[name] = Match(Mean.of(found), Mean.of(beside)) if found else None
        summaries.append(Summary(*key, Mean.of(list(ours[key].values())), matches))
    return summaries
