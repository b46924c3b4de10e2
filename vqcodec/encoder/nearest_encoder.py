"""Encoder of models trained without a rate term: one set of index planes, whatever the Lagrangian multiplier."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from typing_extensions import override

from ..inference.networks import pixels_to_planes
from ..tokens.tokens import Tokens, write_tokens
from .base import PictureEncoder


class NearestEncoder(PictureEncoder):
    """Nearest codewords; files differ in the number of layers only. Serves window models, too."""

    uses_lmbda = False

    @override
    def tokens(self, lmbda: float, keep: int | None = None) -> Tokens:
        tokens = self._tokens(self._planes)
        return tokens if keep is None else tokens.kept(keep)

    def _encode(self, lmbda: float, keep: int) -> bytes:
        return write_tokens(self.tokens(lmbda, keep), self.model)

    @property
    def draft(self) -> NearestEncoder:
        """This encoder itself: it searches nothing."""
        return self

    @cached_property
    def _planes(self) -> list[np.ndarray]:
        return pixels_to_planes(self.model, self.picture.pixels)
