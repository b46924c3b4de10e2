"""A vqcodec model as a codec under test: its files for one picture, by quality or by number of layers.

Seconds are wall time of the call that encodes one file in memory, after the model is loaded. The encoder network runs
once per picture; its time counts in full in each of the picture's files, as if only that file were made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..config.effort import EFFORT
from ..metrics import Pixels


class ModelCodec(Protocol):
    """A model and its files by setting (quality or number of layers)."""

    model: str

    @property
    def n_files(self) -> int:
        """Files of each picture."""
        ...

    def prepare(self) -> None:
        """Pay the one-time costs of the process, so that they are in no picture's seconds."""
        ...

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        """uint8 [H, W, 3] -> (setting, complete file, seconds to encode it), smallest file first."""
        ...

    def decode(self, data: bytes) -> Pixels:
        """One complete file -> uint8 [H, W, 3]."""
        ...


class ByLayers:
    """One file for every number of layers of `model`, a name or a folder.

    `effort` 1..9 is that of `vqcodec.encode`, `device` that of torch. `points` has no effect here.
    """

    def __init__(self, model: str, device: str = "cpu", effort: int = EFFORT, points: int | None = None) -> None:
        self.model = model
        self.device = device
        self.effort = effort
        self.points = points

    @property
    def n_files(self) -> int:
        """Number of layers."""
        from ..models import registry

        return len(registry.find(self.model).config.layers)

    def prepare(self) -> None:
        """Encode and decode a small picture, so that one-time costs of the process are in no picture's seconds."""
        for _, data, _ in self.files(np.zeros((64, 64, 3), np.uint8)):
            self.decode(data)

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        """A file for the first 1, 2, ... layers."""
        import vqcodec

        from ..models import loading

        loading.load_model(self.model)  # before the clock starts: of many models only a few stay loaded
        _ = loading.load_model(self.model, self.device).tokenizer
        start = time.perf_counter()
        tokens = vqcodec.tokenize(pixels, model=self.model, effort=self.effort, device=self.device)
        network_s = time.perf_counter() - start
        for keep in range(1, tokens.n_layers + 1):
            start = time.perf_counter()
            data = vqcodec.encode_tokens(tokens, keep=keep)
            yield keep, data, network_s + time.perf_counter() - start

    def decode(self, data: bytes) -> Pixels:
        """Decode with this model, without the limit on pixels: the file was made here.

        `vqcodec.decode` looks a model up by its identity and so never finds one that is given by its folder.
        """
        import vqcodec

        from .. import container
        from ..models import loading
        from ..tokens.reading import read_tokens

        tokens = read_tokens(container.read(data, max_pixels=None), loading.load_model(self.model))
        decoded = vqcodec.detokenize(replace(tokens, model=self.model), device=self.device)
        return np.asarray(decoded.convert("RGB"))


class ByQuality(ByLayers):
    """One file for every quality step of the model, or for `points` of them over the whole range."""

    @property
    def n_files(self) -> int:
        """Number of quality steps measured."""
        from ..models import registry

        return len(spread(len(registry.find(self.model).config.ladder), self.points))

    def files(self, pixels: Pixels) -> Iterator[tuple[int, bytes, float]]:
        """A file for each measured step, under its quality 1..100."""
        from ..encoder.build import encoder_for
        from ..image.files import as_picture

        start = time.perf_counter()
        encoder = encoder_for(as_picture(pixels), self.model, self.device, self.effort)
        network_s = time.perf_counter() - start
        for i in spread(len(encoder.ladder), self.points):
            start = time.perf_counter()
            data = encoder.file_at_step(i)
            yield encoder.ladder[i].quality, data, network_s + time.perf_counter() - start


def spread(n: int, points: int | None) -> list[int]:
    """`points` of the numbers 0..n-1, evenly spaced, the first and the last included; None or more than n: all."""
    if points is None or points >= n:
        return list(range(n))
    if points == 1:
        return [n - 1]
    return [round(i * (n - 1) / (points - 1)) for i in range(points)]
