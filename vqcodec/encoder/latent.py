"""The latent of a picture beside the codewords: which are chosen for it, and what they and their absence cost.

Differs from encoding.py, which makes files of what is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.rectangles import Rect
from ..inference.networks import pixels_to_latent
from ..models import loading
from ..planes import Layers, Maps, Planes
from .adaptive_layers import costs_of
from .codeword_distances import CodewordDistances
from .index_selection import Choice, Distances, choose_tiles

if TYPE_CHECKING:  # which loads torch
    from .latent_refinement import Moved


class Latent:
    """The latent of a picture, and how far it is from the codewords."""

    def __init__(self, model: loading.Model, pixels: np.ndarray) -> None:
        self.quantizer = quantizer = model.tokenizer.quantizer
        self.entropy = model.entropy
        self.values = pixels_to_latent(model, pixels)
        self.grid = (self.values.shape[1], self.values.shape[2])
        self.prices = quantizer.prices.double().cpu().numpy()
        self.caps = quantizer.caps.double().cpu().numpy()
        self.worth, self.bit_error = self.prices[: quantizer.groups], 0.0
        """What a bit is worth at rate 1, in squared distance of each group and in the decoder's error."""
        self.codewords = CodewordDistances(quantizer)

    def moved(self, found: Moved) -> Latent:
        """With other values, and what a bit is worth by these."""
        other = copy(self)
        other.values, other.worth, other.bit_error = found.values, found.worth, found.error
        return other

    def planes(self, tiles: Sequence[Rect], rate: float, layers: Layers, in_context: bool) -> list[Planes]:
        """Planes int32 [h, w] of tiles, chosen under the entropy model or each codeword for itself."""
        if in_context:
            return [choice.planes for choice in self.choose(tiles, rate, layers, False)]
        return [self.nearest(tile, rate) for tile in tiles]

    def choose(
        self,
        tiles: Sequence[Rect],
        rate: float,
        layers: Layers,
        coded: bool,
        maps: Maps | None = None,
        itemised: bool = False,
    ) -> list[Choice]:
        """Under the entropy model, see `choose_tiles`."""
        shapes = [(tile.shape,) * len(self.prices) for tile in tiles]
        worth = self.prices * np.minimum(rate, self.caps)
        distances = self.distances(tiles)
        return choose_tiles(self.entropy, distances, worth, shapes, layers, coded=coded, maps=maps, itemised=itemised)

    def nearest(self, tile: Rect, rate: float) -> Planes:
        """Planes int32 [h, w] of a tile, each codeword chosen for itself."""
        import torch

        part = np.ascontiguousarray(self.values[:, *tile.slices], dtype=np.float32)
        z = torch.from_numpy(part)[None].to(self.quantizer.costs.device)
        return [plane[0].cpu().numpy().astype(np.int32) for plane in self.quantizer.quantize(z, rate)]

    def costs(self, tile: Rect, choice: Choice, rate: float, layers: Layers) -> np.ndarray:
        """What the blocks of a tile cost with its first 0, 1, ... layers, see `dropping`."""
        quantizer = self.quantizer
        nothing = quantizer.costs.new_zeros(1, quantizer.groups, 1, 1)
        fill = quantizer.mask(quantizer.costs.new_zeros(1, len(self.values), 1, 1), nothing)[0, :, 0, 0].cpu().numpy()
        prices = np.repeat(np.maximum(self.worth, 1e-12), quantizer.widths)
        rates = np.minimum(rate, self.caps)
        part = self.values[:, *tile.slices]
        return costs_of(self.codewords, part, fill, choice.planes, choice.spent, layers, prices, rates)

    def distances(self, tiles: Sequence[Rect]) -> Distances:
        """Squared distances of the latent in `tiles` from the codewords of each plane."""

        def measure(tile: int, s: int, positions: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
            return self.codewords.measure(s, self.values[:, *tiles[tile].slices], positions, chosen)

        return measure
