"""Selectors of indices for a latent: each index by itself, or all under the context model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..entropy.tile_segments import encode_tiles
from ..geometry.rectangles import Rect
from ..inference.backend import networks_of
from ..models.loading import Model
from ..planes import Layers, Maps, Planes, blank_planes
from ..runtime.progress import Part, working
from .codeword_distances import CodewordDistances
from .index_selection import PlaneDistances, Selection, select_indices
from .latent import Latent

Segments = list[list[bytes]]
"""[tile][layer]."""


class Selector(Protocol):
    """Method of index selection for access tiles.

    Arguments of both methods: the latent that indices approximate, rectangles of the token grid, the Lagrangian
    multiplier, and the layers to select (planes of each, coarse to fine).
    """

    def planes(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> list[Planes]:
        """Planes int32 [h, w] of each tile; those beyond `layers` hold anything."""

    def encode(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> tuple[Segments, bool]:
        """Segments [tile][layer] of the planes, and True if each tile begins with a map of kept layers."""


class IndividualSelector:
    """Selector of each index by itself: least distance + lmbda * cost, with a fixed cost in bits for each codeword."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def planes(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> list[Planes]:
        """Planes int32 [h, w] of each tile, all layers."""
        networks, selected = networks_of(self.model), []
        for tile in tiles:
            part = latent.values[:, *tile.slices].astype(np.float32)
            with working(Part.SELECTION, tile.area * len(self.model.entropy.sizes)):
                selected.append(networks.quantize(part, lmbda))
        return selected

    def encode(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> tuple[Segments, bool]:
        """Segments of the planes, and False: there are no maps."""
        planes = self.planes(latent, tiles, lmbda, layers)
        return encode_tiles(self.model.entropy, planes, layers), False


class ContextSelector:
    """Selector of all indices under the context model (index_selection.py)."""

    def __init__(self, model: Model, codewords: CodewordDistances) -> None:
        self.model, self.codewords = model, codewords

    def planes(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> list[Planes]:
        """Planes int32 [h, w] of each tile; those beyond `layers` are 0."""
        return [selection.planes for selection in self.select(latent, tiles, lmbda, layers)]

    def encode(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> tuple[Segments, bool]:
        """Segments of the planes, coded in the pass that selects them, and False: there are no maps."""
        return [selection.segments for selection in self.select(latent, tiles, lmbda, layers, True)], False

    def select(
        self,
        latent: Latent,
        tiles: Sequence[Rect],
        lmbda: float,
        layers: Layers,
        coded: bool = False,
        maps: Maps | None = None,
    ) -> list[Selection]:
        """`select_indices` for the latent in `tiles`."""

        def distances(tile: int, s: int, selected: Sequence[np.ndarray]) -> PlaneDistances:
            return self.codewords.of_plane(s, latent.values[:, *tiles[tile].slices], selected)

        weights = self.codewords.distance_per_bit(lmbda)
        shapes = [(tile.shape,) * len(weights) for tile in tiles]
        return select_indices(self.model.entropy, distances, weights, shapes, layers, coded, maps)


def merge_tiles(
    grid: tuple[int, int], tiles: Sequence[Rect], parts: Sequence[Planes], layers: Layers
) -> list[np.ndarray]:
    """Planes of each tile -> planes int32 [h, w] of the picture, MISSING beyond `layers`."""
    planes = blank_planes([grid] * len(parts[0]))
    for tile, of_tile in zip(tiles, parts, strict=True):
        for s in (s for layer in layers for s in layer):
            planes[s][tile.slices] = of_tile[s]
    return planes
