"""Encoder of models with codebooks and a rate term: latent refinement, then index selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from typing_extensions import override

from ..geometry.rectangles import Rect
from ..geometry.token_layout import grid_tiles
from ..image.picture import Picture
from ..models.ladder import ladder
from ..models.loading import Model
from ..planes import Layers, Planes
from ..tokens.tokens import Tokens, assemble, header_of
from .base import Encoder, Recent
from .latent import Latent
from .latent_refinement import refine, step_fractions
from .selectors import Selector, merge_tiles


class IndexEncoder(Encoder):
    """Tokens and files of the picture whose encoder latent is `latent`.

    Args:
        first: selects the indices that the first pass of latent refinement decodes.
        selector: selects those of later passes, and the files of `draft`.
        final: selects those of tokens and files.
        passes: of latent refinement; 0 for none.
    """

    uses_lmbda = True

    def __init__(
        self,
        picture: Picture,
        model: Model,
        name: str,
        latent: Latent,
        first: Selector,
        selector: Selector,
        final: Selector,
        passes: int,
    ) -> None:
        super().__init__(picture, model, name, ladder(model.config))
        self.latent, self.passes = latent, passes
        self.first, self.selector, self.final = first, selector, final
        self._refined = Recent[tuple[float, int], Latent]()

    @cached_property
    def tiles(self) -> list[Rect]:
        """The access tiles of the picture, in token steps."""
        return grid_tiles(header_of(self._outline, self.model.config), self.model.stride)

    @override
    def tokens(self, lmbda: float, keep: int | None = None) -> Tokens:
        layers = self.model.layers[:keep]
        parts = self.tile_planes(self.tiles, lmbda, keep)
        tokens = self._tokens(merge_tiles(self.latent.grid, self.tiles, parts, layers))
        return tokens if keep is None else tokens.kept(keep)

    def tile_planes(self, tiles: Sequence[Rect], lmbda: float, keep: int | None = None) -> list[Planes]:
        """Planes int32 [h, w] of each of `tiles`, parts of the token grid; those beyond `keep` layers hold anything."""
        layers = self.model.layers[:keep]
        return self.final.planes(self.target(lmbda, layers), tiles, lmbda, layers)

    def _encode(self, lmbda: float, keep: int) -> bytes:
        outline = replace(self._outline, layers=self.model.layers[:keep])
        header = header_of(outline, self.model.config)
        target = self.target(lmbda, outline.layers)
        segments, mapped = self.final.encode(target, self.tiles, lmbda, outline.layers)
        return assemble(outline, replace(header, mapped=mapped), segments)

    @cached_property
    def draft(self) -> IndexEncoder:
        """The same without latent refinement and adaptive layers: no decoder runs."""
        if not self.passes and self.final is self.selector:
            return self
        parts = (self.latent, self.first, self.selector, self.selector)
        return IndexEncoder(self.picture, self.model, self.name, *parts, passes=0)

    def target(self, lmbda: float, layers: Layers) -> Latent:
        """The latent that indices of `layers` are selected for, refined at the next step of the ladder.

        One refinement serves all multipliers from one step of the ladder up to the one before it.
        """
        if not self.passes or lmbda <= 0:
            return self.latent
        lmbda = next((step.lmbda for step in self.ladder if 0 < step.lmbda <= lmbda), lmbda)
        return self._refined.get((lmbda, len(layers)), lambda: self._refine(lmbda, layers))

    def _refine(self, lmbda: float, layers: Layers) -> Latent:
        latent, selector, picture = self.latent, self.first, self.picture
        for fraction in step_fractions(self.passes):
            parts = selector.planes(latent, self.tiles, lmbda, layers)
            planes = merge_tiles(latent.grid, self.tiles, parts, layers)
            latent = refine(self.model, picture.pixels, latent, planes, fraction, picture.alpha)
            selector = self.selector
        return latent

    @cached_property
    def _outline(self) -> Tokens:
        """Tokens of the picture's size and metadata, whose indices are all 0."""
        return self._tokens([np.broadcast_to(np.int32(0), self.latent.grid)] * len(self.model.entropy.sizes))
