"""Interface of shards: samples with a key, tokens, and labels or captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np

from .crops import Crops
from .token_space import TokenSpace

SamplePlanes: TypeAlias = "np.ndarray | list[np.ndarray]"
"""Planes of one picture: integers [S, h, w], or a list of planes [h, w] or [L]."""


class Shard(Protocol):
    """Samples 0, 1, ... of a folder, a tar shard or a packed shard; read in any order, from several processes."""

    name: str
    max_pixels: int | None
    """Largest width times height of a picture; None: no limit."""
    labels: tuple[str, ...]
    """Those of LABELS that at least one sample has."""

    def __len__(self) -> int:
        """Number of samples."""

    def key(self, number: int) -> str:
        """Name of a sample, without suffix."""

    def label(self, number: int, suffix: str) -> bytes | None:
        """Bytes of the file beside the tokens of a sample, None if it has none. Raises InputError."""

    def space(self) -> TokenSpace:
        """Planes of the samples. Raises InputError, FormatError, ModelError."""

    def planes(
        self, numbers: Sequence[int], space: TokenSpace, crops: Crops | None, samples: Sequence[int]
    ) -> list[SamplePlanes]:
        """The planes of `space` of each sample, integers, cropped; `samples` are their numbers in the data set.

        Raises InputError, FormatError, ModelError, LimitError, each with the name of the sample.
        """
