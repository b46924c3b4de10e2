"""Lossless coding of the index planes of one access tile: planes <-> segments, one a layer.

`scan` fixes the order of the symbols, an entropy model (`tables`) their frequencies, `coder` the bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..config import MISSING
from .coder import Coder, TileDecoder, TileEncoder


class EntropyModel(Protocol):
    """Anything that can name integer frequencies for the next symbols from those before them."""

    sizes: tuple[int, ...]

    def identity(self) -> bytes:
        """4 bytes that differ when the frequencies could."""

    def code_tile(self, coder: Coder, planes: Sequence[np.ndarray], layers: Sequence[Sequence[int]]) -> None:
        """Code planes (int32, C-contiguous) of `layers` in order; a decoder fills them in place."""


def encode_tile(model: EntropyModel, planes: Sequence[np.ndarray], layers: Sequence[Sequence[int]]) -> list[bytes]:
    """Planes int32 [h, w] or [L] of one tile -> a segment for each of `layers`."""
    coder = TileEncoder()
    model.code_tile(coder, [np.array(plane, dtype=np.int32, order="C") for plane in planes], layers)
    return coder.segments()


def decode_tile(
    model: EntropyModel,
    segments: Sequence[bytes],
    shapes: Sequence[tuple[int, ...]],
    layers: Sequence[Sequence[int]],
    cut: bool,
) -> list[np.ndarray]:
    """First segments of a tile -> planes int32 of `shapes`, MISSING where they do not reach.

    `cut` says that the stream may go on beyond these segments, or end within the last one. Raises FormatError if a
    stream that should be complete is not.
    """
    layers = layers[: len(segments)]
    if cut and not any(segments):
        # No words decode as all zeros, which only a stream that is not cut can mean.
        return _empty(shapes)
    whole = TileDecoder(segments, cut=False)
    planes = _empty(shapes)
    model.code_tile(whole, planes, layers)
    if whole.is_complete() or not cut:
        whole.finish()
        return planes
    planes = _empty(shapes)
    model.code_tile(TileDecoder(segments, cut=True), planes, layers)
    return planes


def _empty(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.full(shape, MISSING, dtype=np.int32) for shape in shapes]
