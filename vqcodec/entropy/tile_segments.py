"""Lossless coding of the index planes of access tiles: planes <-> segments, one for each layer.

The entropy model fixes the order of the symbols and their frequencies, rans.py the bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from ..planes import MISSING, Grid, Layers, Maps, Planes, Shapes, blank_planes, indices_in
from ..runtime.progress import Part, working
from .interface import EntropyModel
from .layer_map import LayerMapCoder, code_map, map_shape
from .rans import Coder, TileDecoder, TileEncoder
from .workers import for_each

Ending = Literal["complete", "layer", "cut"]
"""End of the segments: that of the stream, that of a layer with more to come, or any word of the last layer."""

BATCH = 2**12
"""Positions of tiles that are coded together, or one tile of more; bounds memory and changes no frequency."""


def encode_tiles(
    model: EntropyModel, tiles: Sequence[Planes], layers: Layers, maps: Maps | None = None
) -> list[list[bytes]]:
    """Planes int32 [h, w] or [L] of each tile -> segments [tile][layer].

    With `maps` of kept layers (layer_map.py) the planes are MISSING where these leave them out.
    """
    segments: list[list[bytes]] = [[] for _ in tiles]

    def encode(batch: list[int]) -> None:
        encoders = [TileEncoder() for _ in batch]
        copies = [[np.array(plane, dtype=np.int32, order="C") for plane in tiles[t]] for t in batch]
        coders: list[Coder] = [*encoders]
        if maps is not None:
            for coder, t in zip(encoders, batch, strict=True):
                code_map(coder, np.array(maps[t]))
            coders = [
                with_map(model, coder, maps[t], planes, layers)
                for coder, t, planes in zip(encoders, batch, copies, strict=True)
            ]
        with working(Part.CODING, indices_in([[plane.shape for plane in tiles[t]] for t in batch], layers)):
            model.code_tiles(coders, copies, layers)
        for t, coder in zip(batch, encoders, strict=True):
            segments[t] = coder.segments()

    sizes = [max(plane.size for plane in planes) for planes in tiles]
    for_each(encode, batches(sizes, model.workers()), model.workers())
    return segments


def decode_tiles(
    model: EntropyModel,
    segments: Sequence[Sequence[bytes]],
    shapes: Sequence[Shapes],
    layers: Layers,
    ending: Ending = "complete",
    mapped: bool = False,
) -> list[Planes]:
    """First segments of each tile -> its planes int32 of `shapes`, MISSING beyond the segments.

    `mapped`: the segments hold maps of kept layers. Raises FormatError for indices beyond their alphabet, and
    if a complete stream does not end where it should.
    """
    tiles = [blank_planes(shape) for shape in shapes]

    def decode(batch: list[int]) -> None:
        decoders = [TileDecoder(segments[t], ending == "cut") for t in batch]
        present = layers[: len(segments[batch[0]])]
        coders: list[Coder] = [*decoders]
        if mapped and present:
            maps = [np.full(map_shape(shapes[t][0]), MISSING, np.int32) for t in batch]
            for coder, kept in zip(decoders, maps, strict=True):
                code_map(coder, kept)
            coders = [
                with_map(model, coder, kept, tiles[t], present)
                for coder, kept, t in zip(decoders, maps, batch, strict=True)
            ]
        with working(Part.CODING, indices_in([shapes[t] for t in batch], present)):
            model.code_tiles(coders, [tiles[t] for t in batch], present)
        if ending == "complete":
            for coder in decoders:
                coder.finish()

    by_segments: dict[int, list[int]] = {}
    for t, given in enumerate(segments):
        by_segments.setdefault(len(given), []).append(t)
    found = [
        [same[i] for i in batch]
        for same in by_segments.values()
        for batch in batches([max(map(math.prod, shapes[t])) for t in same], model.workers())
    ]
    for_each(decode, found, model.workers())
    return tiles


def with_map(model: EntropyModel, coder: Coder, kept: np.ndarray, planes: Planes, layers: Layers) -> LayerMapCoder:
    """`coder` for the layers that the map `kept` of a tile with such planes keeps."""
    shape = planes[0].shape
    return LayerMapCoder(coder, kept, shape, layers, model.order(shape), model.split)


def encode_tile(model: EntropyModel, planes: Planes, layers: Layers) -> list[bytes]:
    """`encode_tiles` of one tile."""
    return encode_tiles(model, [planes], layers)[0]


def decode_tile(
    model: EntropyModel,
    segments: Sequence[bytes],
    shapes: Sequence[Grid],
    layers: Layers,
    ending: Ending = "complete",
) -> Planes:
    """`decode_tiles` of one tile."""
    return decode_tiles(model, [segments], [tuple(shapes)], layers, ending)[0]


def batches(sizes: Sequence[int], workers: int) -> list[list[int]]:
    """Numbers of tiles, in order, in batches of about equal positions, about BATCH at most, or one tile of more.

    `sizes` are the positions of each. The number of batches is a multiple of `workers`, if there are so many tiles. It
    does not depend on the threads in use: the batch of a tile may decide between equally good indices.
    """
    if not sizes:
        return []
    ends = np.cumsum(sizes, dtype=np.int64)
    count = workers * max(1, -(-int(ends[-1]) // (BATCH * workers)))
    middles = ends - np.array(sizes, np.int64) / 2
    numbers = (middles * (count / max(1, ends[-1]))).astype(np.int64)
    firsts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    return [list(range(start, end)) for start, end in pairwise([*firsts, len(sizes)])]
