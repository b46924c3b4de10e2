"""Stand-ins for codecs and models in tests of `vqcodec eval`: given file sizes and pictures, and no network."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import vqcodec
from vqcodec.cli.evaluate.command import evaluate
from vqcodec.errors import ModelError
from vqcodec.evaluation import picture_job
from vqcodec.evaluation.cache import SweepCache
from vqcodec.evaluation.codecs import ReferenceCodec
from vqcodec.evaluation.measure import PictureMeasurement, Row
from vqcodec.evaluation.model_codec import ByLayers, ModelCodec
from vqcodec.evaluation.rate_sweep import RateSweep
from vqcodec.metrics import Metric, Pixels

GREY = np.full((8, 10, 3), 50, np.uint8)


class Staircase:
    """A codec whose file sizes are given; its picture is grey, the brighter the higher the setting."""

    max_side_px = 1000
    monotone = timed = True
    mime = ""

    def for_picture(self, name: str) -> Staircase:
        return self

    def n_bytes(self, data: bytes) -> int:
        return len(data)

    def __init__(self, sizes: list[int], name: str = "stairs") -> None:
        self.sizes = sizes
        self.settings = range(len(sizes))
        self.name = name
        self.encoded: list[int] = []
        self.decoded = 0

    def encode(self, pixels: Pixels, setting: int) -> bytes:
        self.encoded.append(setting)
        return bytes([setting, *pixels.shape[:2]]) + bytes(self.sizes[setting] - 3)

    def decode(self, data: bytes) -> Pixels:
        self.decoded += 1
        return np.full((data[1], data[2], 3), data[0], np.uint8)

    def describe(self) -> str:
        return self.name


class Fixed:
    """A model with given file sizes, one for each number of layers k, which decodes to grey of value 10 * k."""

    def __init__(self, sizes: list[int], model: str = "fixed") -> None:
        self.sizes = sizes
        self.model = model

    @property
    def n_files(self) -> int:
        return len(self.sizes)

    def prepare(self) -> None:
        return

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        for keep, size in enumerate(self.sizes, 1):
            yield keep, bytes([keep, *pixels.shape[:2]]) + bytes(size - 3), 0.5

    def decode(self, data: bytes) -> Pixels:
        return np.full((data[1], data[2], 3), 10 * data[0], np.uint8)


@dataclass
class StandIn:
    """Tokens of a model with four layers, whose files are plain JPEG."""

    pixels: Pixels
    model: str
    n_layers: int = 4


class Loaded:
    """An installed or loaded model, for callers that look it up or load it."""

    tokenizer = None
    config = "configuration"


QUALITIES = {"photo": (2, 10, 40, 80), "other": (4, 20, 60, 90)}
"""Model -> JPEG quality for each number of layers."""


def stand_in(patch: pytest.MonkeyPatch) -> list[str]:
    """Replace the models `photo`, the default, and `other` by stand-ins.

    Returns the list of calls of their networks.
    """
    calls: list[str] = []

    def tokenize(image: Pixels, model: str = "photo", *, effort: int = 6, device: str = "cpu") -> StandIn:
        calls.append(model)
        return StandIn(image, model)

    def encode_tokens(tokens: StandIn, *, keep: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(tokens.pixels).save(file, "JPEG", quality=QUALITIES[tokens.model][keep - 1])
        return file.getvalue()

    def decode(_: ByLayers, data: bytes) -> Pixels:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def lookup(name: str, device: str = "cpu") -> type[Loaded]:
        if name not in QUALITIES:
            raise ModelError(f"{name}: no such model")
        return Loaded

    for name, fake in (("tokenize", tokenize), ("encode_tokens", encode_tokens)):
        patch.setattr(vqcodec, name, fake)
    patch.setattr(ByLayers, "decode", decode)
    patch.setattr(ByLayers, "n_files", 4)
    for built in (picture_job.build, picture_job.build_warm):
        built.cache_clear()
    patch.setattr("vqcodec.models.registry.find", lookup)
    patch.setattr("vqcodec.models.loading.load_model", lookup)
    return calls


def run(*words: object) -> str:
    """Run `vqcodec eval --by keep` with `words` and return its stdout; errors are raised."""
    app = typer.Typer()
    app.command("eval")(evaluate)
    result = CliRunner().invoke(app, [*(str(word) for word in words), "--by", "keep", "-j", "1"])
    if result.exception is not None:
        raise result.exception
    return result.stdout


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
    """Rows of all pictures as an evaluation in this process gives them; no codec fails."""
    rows: list[Row] = []
    for name, pixels in pictures:
        sweeps = [cache.load(c, pixels, metrics) if cache else RateSweep(c, pixels, metrics) for c in codecs]
        measurement = PictureMeasurement(name, pixels, models, sweeps, metrics, curves)
        for row in measurement.rows():
            rows.append(row if times else replace(row, seconds={}))
            for sweep in sweeps if cache else ():
                cache.store(sweep)
        assert not measurement.failures
    return rows
