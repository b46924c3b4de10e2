"""A picture on its way to a file: one pass of the encoder network, and the files it can become at any rate.

Differs from family.py, which chooses a model, and from cutting.py, which shortens the file of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..entropy.layer_map import everything, map_bits
from ..geometry.rectangles import Rect
from ..geometry.token_layout import grid_tiles
from ..image.picture import Picture
from ..inference.networks import pixels_to_planes
from ..models import loading
from ..models.ladder import EFFORT, ladder
from ..planes import MISSING, Layers, Maps, Planes
from ..tokens.tokens import Tokens, assemble, can_map, from_picture, header_of, write_tokens
from .adaptive_layers import maps_of
from .index_selection import Choice
from .latent import Latent
from .rate_control import RateControl

PASSES = {6: 4, 7: 4, 8: 6, 9: 10}
"""By effort: how often what was chosen is decoded, and chosen anew for targets moved by the decoder's error."""
ROUGH = min(PASSES) - 1
"""The highest effort without that."""
DROPPING = 7
"""The lowest effort that leaves layers out from place to place."""
TARGETS = 2
"""Most that are remembered: a search goes back and forth between neighbours on the ladder."""


class Encoding(RateControl):
    """The files that `picture` can become, by `rate`: how much bits count when indices are chosen.

    `effort` 1..5: under the entropy model, where it is a context model: indices chosen each for itself, by a rate that
    knows no context, take several times the bytes under it and no less time. 6..9: that for targets moved by the
    decoder's error (targets.py); the first codewords to be decoded are chosen each for itself.
    It makes no difference where a model was trained without a rate; neither does `rate` then.
    Raises ModelError, LimitError.
    """

    def __init__(self, picture: Picture, name: str, device: str = "cpu", effort: int = EFFORT) -> None:
        self.model = loading.load_model(name, device)
        self.name, self.picture, self.effort = name, picture, effort
        self.ladder = ladder(self.model.config)
        quantizer = self.model.tokenizer.quantizer
        has_costs = hasattr(quantizer, "costs") and bool(quantizer.costs.any())
        self.by_rate = has_costs and not self.model.config.tokenizer.side
        """Whether the rate makes a difference."""
        self.in_context = bool(self.by_rate and self.model.entropy.kind == "context" and quantizer.prices.any())
        """Whether indices are chosen under the entropy model."""
        self.drops = self.in_context and effort >= DROPPING and can_map(self.model)
        """Whether layers are left out from place to place."""
        self._latent = Latent(self.model, picture.pixels) if self.by_rate else None
        self._only: list[np.ndarray] | None = None
        self._targets: dict[tuple[float, int], Latent] = {}
        self._files: dict[tuple[float, int], bytes] = {}

    def tokens(self, rate: float, keep: int | None = None) -> Tokens:
        """The first `keep` layers at `rate`; without `keep`, all."""
        if self._latent is None:
            planes = self._planes()
        else:
            planes = [np.empty(self._latent.grid, np.int32) for _ in self.model.entropy.sizes]
            tiles = self.tiles()
            for tile, parts in zip(tiles, self.tile_planes(tiles, rate, keep), strict=True):
                for plane, part in zip(planes, parts, strict=True):
                    plane[tile.slices] = part
        tokens = self._tokens(planes)
        return tokens if keep is None else tokens.kept(keep)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the latent; only of models with a rate."""
        assert self._latent is not None
        return self._latent.grid

    def tiles(self) -> list[Rect]:
        """The access tiles of the picture, in token steps; only of models with a rate."""
        assert self._latent is not None
        nothing = [np.broadcast_to(np.int32(0), self._latent.grid) for _ in self.model.entropy.sizes]
        return grid_tiles(header_of(self._tokens(nothing), self.model.config), self.model.stride)

    def tile_planes(self, tiles: Sequence[Rect], rate: float, keep: int | None = None) -> list[Planes]:
        """Planes int32 [h, w] of each of `tiles` at `rate`; only of models with a rate.

        Beyond the first `keep` layers there may be anything in them.
        """
        layers = self.model.layers[:keep]
        latent = self._target(rate, layers)
        if not self.in_context:
            return latent.planes(tiles, rate, layers, False)
        return [choice.planes for choice in self._dropping(latent, tiles, rate, layers, False)[0]]

    def file(self, rate: float, keep: int | None = None) -> bytes:
        """The complete file of `tokens(rate, keep)`; each is made once."""
        place = (rate if self.by_rate else 0.0, keep or len(self.model.layers))
        if place not in self._files:
            self._files[place] = self._file(rate, keep)
        return self._files[place]

    def _file(self, rate: float, keep: int | None) -> bytes:
        if not self.in_context or self._latent is None:
            return write_tokens(self.tokens(rate, keep), self.model)
        known = self._tokens([np.broadcast_to(np.int32(0), self._latent.grid) for _ in self.model.entropy.sizes])
        known = replace(known, layers=known.layers[: keep or len(known.layers)])
        latent = self._target(rate, known.layers)
        chosen, mapped = self._dropping(latent, self.tiles(), rate, known.layers, True)
        header = replace(header_of(known, self.model.config), mapped=mapped)
        return assemble(known, header, [choice.segments for choice in chosen])

    def _dropping(
        self, latent: Latent, tiles: Sequence[Rect], rate: float, layers: Layers, coded: bool
    ) -> tuple[list[Choice], bool]:
        """Under the entropy model, and once more without what is not worth its bits; whether anything is left out.

        A tile is whole all the same if the decoder makes more of it that way.
        """
        drops = self.drops and rate > 0
        chosen = latent.choose(tiles, rate, layers, coded, itemised=drops)
        if not drops:
            return chosen, False
        costs = [latent.costs(tile, choice, rate, layers) for tile, choice in zip(tiles, chosen, strict=True)]
        maps = maps_of(costs, rate)
        if maps is None:
            return chosen, False
        with_gaps = latent.choose(tiles, rate, layers, coded, maps)
        better = self._better(latent, tiles, rate, layers, chosen, with_gaps, maps)
        if not any(better):
            return chosen, False
        if all(better):
            return with_gaps, True
        maps = [kept if good else everything(tile.shape) for kept, good, tile in zip(maps, better, tiles, strict=True)]
        return latent.choose(tiles, rate, layers, coded, maps), True

    def _better(
        self,
        latent: Latent,
        tiles: Sequence[Rect],
        rate: float,
        layers: Layers,
        whole: Sequence[Choice],
        with_gaps: Sequence[Choice],
        maps: Maps,
    ) -> list[bool]:
        """Of each tile whether it is better with gaps, by the decoder's error and the bits."""
        from .latent_refinement import errors_of

        parts = [tile.times(self.model.stride) for tile in tiles]
        all_errors = []
        for choices in (whole, with_gaps):
            planes = self._assembled(tiles, [choice.planes for choice in choices], layers)
            all_errors.append(errors_of(self.model, self.picture.pixels, planes, parts, self.picture.alpha))
        found = []
        for plain, gaps, one, other, kept in zip(*all_errors, whole, with_gaps, maps, strict=True):
            saved = one.bits.sum() - other.bits.sum() - map_bits(kept)
            found.append(bool(gaps.beside(plain) - plain.beside(plain) < latent.bit_error * rate * saved))
        return found

    def _assembled(self, tiles: Sequence[Rect], parts: Sequence[Planes], layers: Layers) -> list[np.ndarray]:
        """Planes int32 [h, w] of the picture, MISSING beyond `layers` and other tiles."""
        planes = [np.full(self.grid, MISSING, np.int32) for _ in self.model.entropy.sizes]
        for tile, of_tile in zip(tiles, parts, strict=True):
            for s in (s for layer in layers for s in layer):
                planes[s][tile.slices] = of_tile[s]
        return planes

    def _target(self, rate: float, layers: Layers) -> Latent:
        """What indices of `layers` are chosen for, at `rate` and down to the next step of the ladder."""
        latent, passes = self._latent, PASSES.get(self.effort, 0)
        assert latent is not None
        if not passes or rate <= 0:
            return latent
        rate = next((step.rate for step in self.ladder if 0 < step.rate <= rate), rate)
        place = (rate, len(layers))
        if place not in self._targets:
            from .latent_refinement import moved, steps

            tiles = self.tiles()
            for done, step in enumerate(steps(passes)):
                chosen = latent.planes(tiles, rate, layers, self.in_context and done > 0)
                planes = self._assembled(tiles, chosen, layers)
                picture = self.picture
                latent = latent.moved(moved(self.model, picture.pixels, latent.values, planes, step, picture.alpha))
            while len(self._targets) >= TARGETS:
                self._targets.pop(next(iter(self._targets)))
            self._targets[place] = latent
        return self._targets[place]

    @cached_property
    def rough(self) -> Encoding:
        """The same at an effort that runs no decoder: near enough to look for a step of the ladder with."""
        if not self.by_rate or self.effort <= ROUGH:
            return self
        other = copy(self)
        other.effort, other.drops, other._files = ROUGH, False, {}
        return other

    def _planes(self) -> list[np.ndarray]:
        """Of models without a rate there is but one result."""
        if self._only is None:
            self._only = pixels_to_planes(self.model, self.picture.pixels)
        return self._only

    def _tokens(self, planes: Sequence[np.ndarray]) -> Tokens:
        return replace(from_picture(self.picture, planes, self.model.config), model=self.name)
