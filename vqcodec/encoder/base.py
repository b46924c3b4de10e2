"""Interface of picture encoders: tokens and files of a picture under a model at any Lagrangian multiplier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from ..config.model import LadderStep
from ..image.picture import Picture
from ..models.loading import Model
from ..tokens.tokens import Tokens, from_picture

K = TypeVar("K")
V = TypeVar("V")


class PictureEncoder(ABC):
    """Tokens and files of one picture under one model. The encoder network is one part of it (backbones/base.py).

    Indices minimise distortion + lmbda * bits. The Lagrangian multiplier `lmbda` is at least 0; its unit is the
    model's: 1 is the balance of training for index models, and the squared quantization step for scalar models. A
    larger multiplier makes a smaller file, with rare exceptions. Models trained without a rate term ignore it.
    """

    uses_lmbda: bool
    """True where files depend on the multiplier."""
    passes = 0
    """Passes of latent refinement."""

    def __init__(self, picture: Picture, model: Model, name: str, ladder: Sequence[LadderStep]) -> None:
        self.picture, self.model, self.name = picture, model, name
        self.ladder = ladder
        """Steps of the model, smallest files first."""
        self._files: dict[tuple[float, int], bytes] = {}

    @abstractmethod
    def tokens(self, lmbda: float, keep: int | None = None) -> Tokens:
        """The index planes at `lmbda` of the first `keep` layers, 1..N, default all."""

    @abstractmethod
    def _encode(self, lmbda: float, keep: int) -> bytes:
        """The complete file of `tokens(lmbda, keep)`."""

    @property
    @abstractmethod
    def draft(self) -> PictureEncoder:
        """A faster encoder of nearly the same files: a first guess for searches over the ladder."""

    def holding(self, lmbda: float) -> PictureEncoder:
        """An encoder of the same files at `lmbda`, whose sizes do not jump as the multiplier grows beyond it."""
        return self

    def file(self, lmbda: float, keep: int | None = None) -> bytes:
        """The complete file of `tokens(lmbda, keep)`; a second call returns the same bytes at once."""
        place = (lmbda if self.uses_lmbda else 0.0, keep or len(self.model.layers))
        if place not in self._files:
            self._files[place] = self._encode(lmbda, place[1])
        return self._files[place]

    def file_at_step(self, i: int) -> bytes:
        """The complete file at step i of the ladder, 0..len(ladder) - 1."""
        return self.file(self.ladder[i].lmbda, self.ladder[i].keep)

    def _tokens(self, planes: Sequence[np.ndarray]) -> Tokens:
        """Index planes with alpha, metadata and size of the picture."""
        return replace(from_picture(self.picture, planes, self.model.config), model=self.name)


class RecentResults(Generic[K, V]):
    """Cache of the last `n` results of a slow function; searches alternate between two neighbouring ladder steps."""

    def __init__(self, n: int = 2) -> None:
        self.n, self._results = n, dict[K, V]()

    def get(self, key: K, compute: Callable[[], V]) -> V:
        """The result for `key`; `compute` is called where it is not among the last `n`."""
        if key in self._results:
            value = self._results.pop(key)
        else:
            value = compute()
            while len(self._results) >= self.n:
                self._results.pop(next(iter(self._results)))
        self._results[key] = value
        return value
