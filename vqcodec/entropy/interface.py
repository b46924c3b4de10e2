"""Interface of entropy models: integer frequencies for the next symbols, from those already coded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..planes import Grid, Layers, Planes
from .alphabet_split import AlphabetSplit, whole_alphabet
from .index_order import scan
from .rans import Coder


class EntropyModel(Protocol):
    """An entropy model drives a coder: encoder and decoder run the same calls, in decoding order."""

    kind: str
    """Name of the family: context, adaptive or scalar."""
    sizes: tuple[int, ...]
    """Alphabet size of each plane."""

    def identity(self) -> bytes:
        """4 bytes that are equal for models of equal frequencies, and else differ."""

    def workers(self) -> int:
        """Threads that `code_tiles` gains from."""

    def order(self, shape: Grid) -> np.ndarray:
        """Flat positions int64 of a plane of `shape` in coding order."""

    def split(self, s: int) -> AlphabetSplit:
        """Symbols of the indices of plane s."""

    def code_tiles(self, coders: Sequence[Coder], tiles: Sequence[Planes], layers: Layers) -> None:
        """Code the planes of `layers` of tiles, int32, C-contiguous, of any shapes.

        Decoders fill them in place. The frequencies of a tile's symbols do not depend on the other tiles.
        """


class WholeIndexModel:
    """Base of entropy models that code every index as one symbol, in scan order."""

    sizes: tuple[int, ...]

    def order(self, shape: Grid) -> np.ndarray:
        """Flat positions int64 of a plane of `shape` in coding order."""
        return scan(shape)

    def split(self, s: int) -> AlphabetSplit:
        """Indices of plane s coded whole."""
        return whole_alphabet(self.sizes[s])
