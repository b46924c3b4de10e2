"""Training data of entropy models: index planes of access tiles, collected and cut into crops.

A crop includes its surroundings in the tile, so that contexts end only at the borders of tiles, as in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqcodec.config.effort import EFFORT
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.entropy.context_inputs import margin_of
from vqcodec.geometry.rectangles import Rect, split
from vqcodec.image.files import as_picture
from vqcodec.models.loading import Model

from ..data.pictures import Pictures
from ..export import rates_of
from .changed_colours import changed_colours

Tile = np.ndarray | Sequence[np.ndarray]
"""Planes [S, h, w], or a list of planes [h, w] or [L] of any shapes; the last planes are missing if a file leaves them
out."""


class Collection(NamedTuple):
    """Amount of indices that is collected of each picture, and their effort."""

    rates: int = 2
    """Rates, and thus least tiles, of a picture."""
    most_tiles: int = 8
    """Tiles of a picture, at most: large pictures must not dominate."""
    copies: int = 0
    """Copies with changed colours beside the picture itself."""
    effort: int = EFFORT
    """Effort of the files whose indices they are, 1..9."""


USUAL = Collection()


def collect_tiles(model: Model, pictures: Pictures, tile: int, collection: Collection = USUAL) -> list[Tile]:
    """Index planes int16 or int32 [S, h, w] of tiles of the pictures, `tile` steps a side.

    They are those of files of the collection's effort. From effort `build.ADAPTIVE_LAYERS` on, indices are MISSING
    where layers are left out.

    If tokens are windows, each window is a tile, a list of planes int32.

    With a rate term every picture draws rates, uniform in the logarithm over the range of the ladder, and its tiles
    take turns at them. Large pictures give a random selection of tiles, small ones their tile at each rate.
    """
    rates = rates_of(model.config)
    high = max(rates)
    span = high / max(min(rates), 1e-3 * high)
    kind = np.int16 if max(model.entropy.sizes) < 2**15 else np.int32
    found: list[Tile] = []
    for number, original in enumerate(pictures.decoded()):
        rng = np.random.default_rng(number)
        for copy in range(1 + collection.copies):
            pixels = changed_colours(original, rng) if copy else original
            encoder = encoder_for(as_picture(pixels), str(model.entry.folder), effort=collection.effort)
            if model.config.tokenizer.window_px:
                planes = encoder.tokens(1.0).planes
                found += [[plane[window] for plane in planes] for window in range(len(planes[0]))]
            elif isinstance(encoder, IndexEncoder):
                drawn = high * span ** -rng.random(collection.rates)
                found += [planes.astype(kind) for planes in _at_rates(encoder, tile, drawn, collection.most_tiles, rng)]
            else:
                found += _cut_up(np.stack(encoder.tokens(1.0).planes).astype(kind), tile)
    return found


def _at_rates(
    encoder: IndexEncoder, tile: int, drawn: np.ndarray, most_tiles: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Index planes [S, h, w] of tiles of one picture, which take turns at the rates `drawn`."""
    rects = list(split(Rect(0, encoder.latent.grid[0], 0, encoder.latent.grid[1]), tile))
    if len(rects) == 1:
        tiles = [(0, float(rate)) for rate in drawn]
    else:
        some = rng.permutation(len(rects))[:most_tiles]
        tiles = [(t, float(drawn[i % len(drawn)])) for i, t in enumerate(some)]
    for t, rate in tiles:
        keep = next((step.keep for step in encoder.ladder if step.lmbda <= rate), encoder.ladder[-1].keep)
        planes = encoder.tile_planes([rects[t]], rate, keep)[0]
        yield np.stack(planes[: sum(map(len, encoder.model.layers[:keep]))])


def _cut_up(planes: np.ndarray, tile: int) -> list[np.ndarray]:
    height, width = planes.shape[1:]
    return [planes[:, y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]


class PriorCrops:
    """Batches of crops; `batch(number)` is a pure function of (seed, number) and the tiles (padded planes each).

    Tiles with planes of different shapes are not cut: a crop is a whole tile, and a batch holds tiles of one layout.
    """

    def __init__(
        self,
        tiles: Sequence[Sequence[np.ndarray]],
        sizes: tuple[int, ...],
        batch: int,
        side: int,
        seed: int,
        grids: int = 1,
    ) -> None:
        self.cell = 2**grids
        """Side of the cells of the coarsest grid."""
        self.margin = margin_of(grids)
        self.batch_size, self.side, self.seed = batch, max(side // self.cell, 1) * self.cell, seed
        self.outside = np.array(sizes) + 1
        layouts = [tuple(plane.shape for plane in tile) for tile in tiles]
        self.is_cut = all(len(set(layout)) == 1 for layout in layouts)
        self.by_layout = [[t for t, other in enumerate(layouts) if other == layout] for layout in set(layouts)]
        # Stacked, so that all planes of a crop are cut at once.
        self.stacked = [np.stack(tile) for tile in tiles] if self.is_cut else []
        self.whole = [] if self.is_cut else list(tiles)
        positions = np.array([tile[0].size for tile in tiles], np.float64)
        self.share = positions / positions.sum()

    def batch(self, number: int) -> list[Tensor]:
        """Planes int64 [n, h, w] with a margin, as `Prior` takes them."""
        rng = np.random.default_rng((self.seed, number))
        if not self.is_cut:
            same = self.by_layout[rng.choice(len(self.by_layout), p=[self.share[t].sum() for t in self.by_layout])]
            chosen = [list(self.whole[t]) for t in rng.choice(same, self.batch_size)]
        else:
            picked = rng.choice(len(self.stacked), self.batch_size, p=self.share)
            chosen = [list(self._cut(self.stacked[t], rng)) for t in picked]
        return [torch.from_numpy(np.stack(planes)) for planes in zip(*chosen, strict=True)]

    def _cut(self, planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[S, h, w] -> `side` positions a side and their margin, from the first position of a cell on."""
        cell, h, w = self.cell, *(side - 2 * self.margin for side in planes.shape[1:])
        y, x = (cell * int(rng.integers(0, max(0, -(-(side - self.side) // cell)) + 1)) for side in (h, w))
        whole = self.side + 2 * self.margin
        part = planes[:, y : y + whole, x : x + whole]
        crop = np.broadcast_to(self.outside[:, None, None], (len(planes), whole, whole)).copy()
        crop[:, : part.shape[1], : part.shape[2]] = part
        return crop
