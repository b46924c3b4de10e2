"""Lossless coding of the index planes of access tiles: planes <-> segments, one a layer.

`scan` fixes the order of the symbols, an entropy model (`tables`, `prior`) their frequencies, `coder` the bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np

from ..planes import MISSING, Layers, Maps, Planes, Shapes, blank_planes
from .alphabet_split import Split
from .coder import Coder, TileDecoder, TileEncoder
from .layer_map import Keeping, code_map, map_shape
from .workers import for_each

Ending = Literal["complete", "layer", "cut"]

BATCH = 2**12
"""Positions of tiles that are coded together, or one tile of more; bounds memory, never changes a byte."""


class EntropyModel(Protocol):
    """Anything that can name integer frequencies for the next symbols from those before them."""

    kind: str
    """context or adaptive."""
    sizes: tuple[int, ...]

    def identity(self) -> bytes:
        """4 bytes that differ when the frequencies could."""

    def workers(self) -> int:
        """How many threads may call `code_tiles` at the same time, so that it pays."""

    def order(self, shape: tuple[int, ...]) -> np.ndarray:
        """Flat positions int64 of a plane of `shape` in the order they are coded in."""

    def split(self, s: int) -> Split:
        """How the codes of plane s are coded: whole, or as the planes of their high and low parts."""

    def code_tiles(self, coders: Sequence[Coder], tiles: Sequence[Planes], layers: Layers) -> None:
        """Code planes (int32, C-contiguous, the same shapes in every tile) of `layers` in order.

        A decoder fills them in place. What is coded of a tile does not depend on the others.
        """


def encode_tiles(
    model: EntropyModel, tiles: Sequence[Planes], layers: Layers, maps: Maps | None = None
) -> list[list[bytes]]:
    """Planes int32 [h, w] or [L] of each tile -> a segment for each of `layers`, tile by tile.

    With `maps` of kept layers (`keeping`) the planes are MISSING where these leave them out.
    """
    segments: list[list[bytes]] = [[] for _ in tiles]

    def encode(batch: list[int]) -> None:
        encoders = [TileEncoder() for _ in batch]
        copies = [[np.array(plane, dtype=np.int32, order="C") for plane in tiles[t]] for t in batch]
        coders: list[Coder] = [*encoders]
        if maps is not None:
            for coder, t in zip(encoders, batch, strict=True):
                code_map(coder, np.array(maps[t]))
            coders = [skipping(model, c, maps[t], copies[0], layers) for c, t in zip(encoders, batch, strict=True)]
        model.code_tiles(coders, copies, layers)
        for t, coder in zip(batch, encoders, strict=True):
            segments[t] = coder.segments()

    batches = alike([(tuple(plane.shape for plane in planes), len(layers)) for planes in tiles])
    for_each(encode, batches, model.workers())
    return segments


def decode_tiles(
    model: EntropyModel,
    segments: Sequence[Sequence[bytes]],
    shapes: Sequence[Shapes],
    layers: Layers,
    ending: Ending = "complete",
    mapped: bool = False,
) -> list[Planes]:
    """First segments of each tile -> its planes int32 of `shapes`, MISSING where they do not reach.

    `ending` says where the segments stop: at the end of the stream ("complete"), at the end of a layer with more to
    come ("layer"), or within the last layer ("cut"). `mapped`: with maps of kept layers. Raises FormatError if a
    complete stream does not end right.
    """
    tiles = [blank_planes(shape) for shape in shapes]

    def decode(batch: list[int]) -> None:
        decoders = [TileDecoder(segments[t], ending == "cut") for t in batch]
        there = layers[: len(segments[batch[0]])]
        coders: list[Coder] = [*decoders]
        if mapped and there:
            kept = [np.full(map_shape(shapes[batch[0]][0]), MISSING, np.int32) for _ in batch]
            for coder, of_tile in zip(decoders, kept, strict=True):
                code_map(coder, of_tile)
            coders = [
                skipping(model, c, of_tile, tiles[batch[0]], there) for c, of_tile in zip(decoders, kept, strict=True)
            ]
        model.code_tiles(coders, [tiles[t] for t in batch], there)
        if ending == "complete":
            for coder in decoders:
                coder.finish()

    batches = alike([(shape, len(given)) for shape, given in zip(shapes, segments, strict=True)])
    for_each(decode, batches, model.workers())
    return tiles


def skipping(model: EntropyModel, inner: Coder, kept: np.ndarray, planes: Planes, layers: Layers) -> Keeping:
    """`inner` for what a tile keeps of planes like these."""
    shape = planes[0].shape
    return Keeping(inner, kept, shape, layers, model.order(shape), model.split)


def encode_tile(model: EntropyModel, planes: Planes, layers: Layers) -> list[bytes]:
    """`encode_tiles` of one tile."""
    return encode_tiles(model, [planes], layers)[0]


def decode_tile(
    model: EntropyModel,
    segments: Sequence[bytes],
    shapes: Sequence[tuple[int, ...]],
    layers: Layers,
    ending: Ending = "complete",
) -> Planes:
    """`decode_tiles` of one tile."""
    return decode_tiles(model, [segments], [tuple(shapes)], layers, ending)[0]


def alike(keys: Sequence[tuple[Shapes, int]]) -> Iterator[list[int]]:
    """Tiles of equal (shapes, number of segments), in batches of at most BATCH positions."""
    by_key: dict[tuple[Shapes, int], list[int]] = {}
    for i, key in enumerate(keys):
        by_key.setdefault(key, []).append(i)
    for (shapes, _), same in by_key.items():
        size = max(1, BATCH // max(map(math.prod, shapes)))
        for start in range(0, len(same), size):
            yield same[start : start + size]
