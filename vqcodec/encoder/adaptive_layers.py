"""Adaptive layers: block by block, the number of layers that a file keeps.

With n = 0, 1, ... layers kept, a block of the token grid costs, in bits at lmbda 1,

    cost(n) = sum over channels d of |z_d - y_d(n)|^2 / w_d  +  sum over kept planes s of lmbda_s * bits_s

where z is the latent, y(n) the decoder's input (codewords of the kept layers, the learned fill for missing groups),
w_d the squared distance that balances one bit at lmbda 1, lmbda_s the multiplier up to the plane's cap, and bits_s what
the context model spent on the block. Each block keeps the n of least cost plus the cost of its entry in the map, which
is iterated, since an entry costs less the more often it occurs. The decoder has a fill for missing groups because
training masks them (nested masking: MGVQ, section 3). entropy/layer_map.py codes the map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..entropy.layer_map import ALL_LAYERS, BLOCK, full_map, map_bits
from ..geometry.rectangles import Rect
from ..image.picture import Picture
from ..models.loading import Model
from ..planes import Layers, Maps, Planes
from .codeword_distances import CodewordDistances
from .index_selection import Selection
from .latent import Latent
from .measures import distortions
from .selectors import ContextSelector, Segments, merge_tiles

MAP_ROUNDS = 4
"""Iterations of selecting entries of the map and of counting anew what each of them costs."""
LEAST_SAVING = 0.006
"""Share of the whole cost that maps must save, 0..1; below it all layers are kept."""
TINY = 1e-12


class AdaptiveLayers:
    """Selector under the context model that leaves out the last layers of blocks where that lowers the cost.

    cost(n), defined at the top of this module, measures errors in the latent and so assumes that the pixels are linear
    in it. Therefore the picture is decoded with and without the map, and a tile's map is used only if it also lowers
    distortion + lmbda * bits in the pixels.
    """

    def __init__(self, inner: ContextSelector, model: Model, picture: Picture) -> None:
        self.inner, self.model, self.picture = inner, model, picture

    def planes(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> list[Planes]:
        """Planes int32 [h, w] of each tile, MISSING where a block leaves out the layer."""
        return [selection.planes for selection in self.select(latent, tiles, lmbda, layers, False)[0]]

    def encode(self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers) -> tuple[Segments, bool]:
        """Segments of the same planes, and True if the tiles begin with maps of kept layers."""
        selections, mapped = self.select(latent, tiles, lmbda, layers, True)
        return [selection.segments for selection in selections], mapped

    def select(
        self, latent: Latent, tiles: Sequence[Rect], lmbda: float, layers: Layers, coded: bool
    ) -> tuple[list[Selection], bool]:
        """Selection of each tile, and True if they have maps; all layers are kept first, then those of the maps."""
        whole = self.inner.select(latent, tiles, lmbda, layers, coded)
        if lmbda <= 0:
            return whole, False
        costs = [self._block_costs(latent, *part, lmbda, layers) for part in zip(tiles, whole, strict=True)]
        maps = select_maps(costs, lmbda)
        if maps is None:
            return whole, False
        reduced = self.inner.select(latent, tiles, lmbda, layers, coded, maps)
        better = self._is_better(latent, tiles, lmbda, layers, whole, reduced, maps)
        if not any(better):
            return whole, False
        if all(better):
            return reduced, True
        maps = [kept if good else full_map(tile.shape) for kept, good, tile in zip(maps, better, tiles, strict=True)]
        return self.inner.select(latent, tiles, lmbda, layers, coded, maps), True

    def _block_costs(
        self, latent: Latent, tile: Rect, selection: Selection, lmbda: float, layers: Layers
    ) -> np.ndarray:
        product, codewords = self.model.product, self.inner.codewords
        weights = np.repeat(np.maximum(latent.distance_per_bit, TINY), product.widths)
        part = latent.values[:, *tile.slices]
        return block_costs(codewords, part, product.fill, selection, layers, weights, codewords.capped(lmbda))

    def _is_better(
        self,
        latent: Latent,
        tiles: Sequence[Rect],
        lmbda: float,
        layers: Layers,
        whole: Sequence[Selection],
        reduced: Sequence[Selection],
        maps: Maps,
    ) -> list[bool]:
        """For each tile, True if the map lowers distortion + lmbda * bits of the decoded picture."""
        areas = [tile.times(self.model.stride) for tile in tiles]
        decoded = []
        for selections in (whole, reduced):
            planes = merge_tiles(latent.grid, tiles, [selection.planes for selection in selections], layers)
            decoded.append(distortions(self.model, self.picture, planes, areas))
        better = []
        for before, after, all_layers, fewer, kept in zip(*decoded, whole, reduced, maps, strict=True):
            added = after.relative_to(before) - before.relative_to(before)
            saved = all_layers.plane_bits.sum() - fewer.plane_bits.sum() - map_bits(kept)
            better.append(bool(added < latent.error_per_bit * lmbda * saved))
        return better


def select_maps(costs: Sequence[np.ndarray], lmbda: float) -> list[np.ndarray] | None:
    """`block_costs` of each tile -> its map int32 [rows, columns]; None where maps save less than LEAST_SAVING."""
    n_layers = len(costs[0]) - 1
    found = [cost.argmin(0) for cost in costs]
    for _ in range(MAP_ROUNDS):
        counts = np.bincount(np.concatenate([kept.ravel() for kept in found]), minlength=n_layers + 1) + 0.1
        entry = -lmbda * np.log2(counts / counts.sum())[:, None, None]
        found = [(cost + entry).argmin(0) for cost in costs]
    maps = [np.where(kept == n_layers, ALL_LAYERS, kept).astype(np.int32) for kept in found]
    kept_costs = (np.take_along_axis(cost, kept[None], 0).sum() for cost, kept in zip(costs, found, strict=True))
    mapped = float(sum(kept_costs)) + lmbda * sum(map(map_bits, maps))
    whole = float(sum(cost[-1].sum() for cost in costs))
    return maps if mapped < (1 - LEAST_SAVING) * whole else None


def block_costs(
    codewords: CodewordDistances,
    latent: np.ndarray,
    fill: np.ndarray,
    selection: Selection,
    layers: Layers,
    weights: np.ndarray,
    lmbdas: np.ndarray,
) -> np.ndarray:
    """Cost of each block of a tile with its first 0, 1, ... layers: [layers + 1, rows, columns], bits at lmbda 1.

    Args:
        codewords: codebooks and channels of each plane.
        latent: [D, h, w] of the tile.
        fill: [D], the decoder's input in place of missing groups.
        selection: planes of the tile, and the bits of each index.
        layers: planes of each layer, coarse to fine.
        weights: [D], squared distance of each channel that balances one bit at lmbda 1.
        lmbdas: [S], multiplier of each plane.
    """
    decoded = np.broadcast_to(fill[:, None, None], latent.shape).copy()
    costs = [_block_sums(_weighted_error(latent, decoded, weights))]
    bits = np.zeros(latent.shape[1:])
    for layer in layers:
        for s in layer:
            span, code = codewords.spans[s], np.moveaxis(codewords.codebooks[s][selection.planes[s]], -1, 0)
            decoded[span] = decoded[span] + code if codewords.refined_planes[s] else code
            bits += lmbdas[s] * selection.bits[s]
        costs.append(_block_sums(_weighted_error(latent, decoded, weights) + bits))
    return np.stack(costs)


def _weighted_error(latent: np.ndarray, decoded: np.ndarray, weights: np.ndarray) -> np.ndarray:
    error: np.ndarray = np.einsum("dhw,d->hw", np.square(latent - decoded, dtype=np.float64), 1 / weights)
    return error


def _block_sums(values: np.ndarray) -> np.ndarray:
    """[h, w] -> sums over blocks [rows, columns]."""
    rows, columns = (np.arange(0, length, BLOCK) for length in values.shape)
    return np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1)
