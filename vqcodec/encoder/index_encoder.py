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
from .base import PictureEncoder, RecentResults
from .latent import Latent
from .latent_refinement import refine, step_fractions
from .selectors import Selector, merge_tiles


class IndexEncoder(PictureEncoder):
    """Tokens and files of the picture whose encoder latent is `latent`.

    Args:
        picture: the picture.
        model: a model with codebooks and a rate term.
        name: name or folder of the model.
        latent: output of the encoder network for the picture.
        first_pass_selector: selector of the indices that the first pass of latent refinement decodes.
        draft_selector: selector of the indices of later passes, and of the files of `draft`.
        final_selector: selector of the indices in tokens and files.
        passes: passes of latent refinement, 0 or more.
    """

    uses_lmbda = True

    def __init__(
        self,
        picture: Picture,
        model: Model,
        name: str,
        latent: Latent,
        *,
        first_pass_selector: Selector,
        draft_selector: Selector,
        final_selector: Selector,
        passes: int,
    ) -> None:
        super().__init__(picture, model, name, ladder(model.config))
        self.latent, self.passes = latent, passes
        self.first_pass_selector, self.draft_selector = first_pass_selector, draft_selector
        self.final_selector = final_selector
        self._refined = RecentResults[tuple[float, int], Latent]()

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
        return self.final_selector.planes(self.target(lmbda, layers), tiles, lmbda, layers)

    def _encode(self, lmbda: float, keep: int) -> bytes:
        outline = replace(self._outline, layers=self.model.layers[:keep])
        header = header_of(outline, self.model.config)
        target = self.target(lmbda, outline.layers)
        segments, mapped = self.final_selector.encode(target, self.tiles, lmbda, outline.layers)
        return assemble(outline, replace(header, mapped=mapped), segments)

    @cached_property
    def draft(self) -> IndexEncoder:
        """The same without latent refinement and adaptive layers: no decoder runs."""
        if not self.passes and self.final_selector is self.draft_selector:
            return self
        return IndexEncoder(
            self.picture,
            self.model,
            self.name,
            self.latent,
            first_pass_selector=self.first_pass_selector,
            draft_selector=self.draft_selector,
            final_selector=self.draft_selector,
            passes=0,
        )

    def target(self, lmbda: float, layers: Layers) -> Latent:
        """The latent that the indices of `layers` approximate: the encoder network's latent, refined.

        Refinement runs at the multiplier of a ladder step: the largest that is not above `lmbda`, or `lmbda` itself
        below all of them. So all multipliers between two neighbouring steps use the same refined latent. With `lmbda` 0
        or without passes of refinement the latent is not refined.
        """
        if not self.passes or lmbda <= 0:
            return self.latent
        lmbda = next((step.lmbda for step in self.ladder if 0 < step.lmbda <= lmbda), lmbda)
        return self._refined.get((lmbda, len(layers)), lambda: self._refine(lmbda, layers))

    def _refine(self, lmbda: float, layers: Layers) -> Latent:
        latent, selector = self.latent, self.first_pass_selector
        for fraction in step_fractions(self.passes):
            latent = refine(self.model, self.picture, latent, self._selected(selector, latent, lmbda, layers), fraction)
            selector = self.draft_selector
        return latent

    def _selected(self, selector: Selector, latent: Latent, lmbda: float, layers: Layers) -> list[np.ndarray]:
        """Planes int32 [h, w] of the picture."""
        return merge_tiles(latent.grid, self.tiles, selector.planes(latent, self.tiles, lmbda, layers), layers)

    @cached_property
    def _outline(self) -> Tokens:
        """Tokens of the picture's size and metadata, whose indices are all 0."""
        return self._tokens([np.broadcast_to(np.int32(0), self.latent.grid)] * len(self.model.entropy.sizes))
