"""Encoder of models with a quantization step: latent refinement, then selection of scalar values.

The Lagrangian multiplier is the squared quantization step. It fixes the step number, whose step is the nearest to it,
and the weight of bits relative to that of this step, so files between two step numbers differ in the weight alone.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from typing_extensions import override

from ..config.quantizers import LARGEST, UniformConfig
from ..entropy.interface import EntropyModel
from ..entropy.rans import TileEncoder
from ..entropy.scalar_context import ScalarContext
from ..geometry.token_layout import access_tiles
from ..image.picture import Picture
from ..models.loading import Model
from ..planes import MISSING
from ..runtime.progress import Part, working
from ..tokens.tokens import Tokens, assemble, header_of
from ..transforms.lifting_arrays import lift
from ..transforms.steps import step_number, step_size
from .base import PictureEncoder, RecentResults
from .latent_refinement import SELECTED_STEP, STEP, descend, step_fractions
from .relative_curvature import relative_curvatures
from .scalar_selection import select_values
from .tolerance import tolerance_of

DRAFT_OFFSET = 0.3
"""Rounding offset of drafts: a value x becomes sign(x) floor(|x| + DRAFT_OFFSET)."""


class ScalarEncoder(PictureEncoder):
    """Tokens and files of the picture whose encoder latent [D, h, w] is `latent`, with `passes` of refinement.

    Each pass decodes a draft. With `select_drafts` its values are selected as those of the file, else rounded.
    """

    uses_lmbda = True

    def __init__(
        self, picture: Picture, model: Model, name: str, latent: np.ndarray, passes: int, select_drafts: bool = False
    ) -> None:
        super().__init__(picture, model, name, model.config.ladder)
        self.latent, self.passes, self.select_drafts = latent, passes, select_drafts
        entropy: EntropyModel | ScalarContext = model.entropy
        assert isinstance(entropy, ScalarContext)
        self.entropy = entropy
        self.held: int | None = None
        """Number of the step of all files; None: that of their multiplier."""
        self._refined = RecentResults[tuple[int, float, int], np.ndarray]()

    @override
    def tokens(self, lmbda: float, keep: int | None = None) -> Tokens:
        return self.select(lmbda, keep or len(self.model.layers))[0]

    def _encode(self, lmbda: float, keep: int) -> bytes:
        tokens, segments = self.select(lmbda, keep)
        return assemble(tokens, header_of(tokens, self.model.config), segments)

    @cached_property
    def draft(self) -> ScalarEncoder:
        """The same without latent refinement."""
        return ScalarEncoder(self.picture, self.model, self.name, self.latent, 0) if self.passes else self

    @override
    def holding(self, lmbda: float) -> ScalarEncoder:
        found = ScalarEncoder(self.picture, self.model, self.name, self.latent, self.passes, self.select_drafts)
        found.held = self._place(lmbda)[0]
        return found

    def _place(self, lmbda: float) -> tuple[int, float]:
        """Step number and weight of bits at a multiplier, of the step that is held, if any."""
        if self.held is None:
            return step_and_weight(lmbda)
        return self.held, max(lmbda, 1e-6) / step_size(self.held) ** 2

    def select(self, lmbda: float, keep: int) -> tuple[Tokens, list[list[bytes]]]:
        """Tokens of the first `keep` layers, and the segments [tile][layer] that hold them."""
        step, weight = self._place(lmbda)
        segments: list[list[bytes]] = []
        planes = self._select_planes(self._target(step, weight, keep), step, weight, keep, segments)
        return replace(self._tokens(planes), step=step, layers=self.model.layers[:keep]), segments

    def _select_planes(
        self, latent: np.ndarray, step: int, weight: float, keep: int, segments: list[list[bytes]] | None = None
    ) -> list[np.ndarray]:
        """Index planes int32 [h, w] selected for `latent` [D, h, w], MISSING beyond the first `keep` layers.

        The segments of each access tile, encoded in the same pass, are appended to `segments`.
        """
        low = self._lifted(latent)
        planes = [np.full(latent.shape[1:], MISSING, np.int32) for _ in latent]
        kept = [s for layer in self.model.layers[:keep] for s in layer]
        for index in self._tiles:
            coder = None if segments is None else TileEncoder()
            # Tile by tile in float32: a large latent is stored in float16.
            coefficients = np.array(latent[:, *index], np.float32)
            coefficients[: len(low)] = low[:, *index]
            coefficients /= np.float32(step_size(step))
            with working(Part.SELECTION, coefficients.size):
                values = select_values(
                    self.entropy.at(step), coefficients, weight, range(keep), self._tolerance[index], coder
                )
            if segments is not None and coder is not None:
                segments.append(coder.segments())
            for s in kept:
                planes[s][index] = values[s] + LARGEST
        return planes

    def _target(self, step: int, weight: float, keep: int) -> np.ndarray:
        """The latent that values are selected for."""
        if not self.passes:
            return self.latent
        return self._refined.get((step, weight, keep), lambda: self._refine(step, weight, keep))

    def _refine(self, step: int, weight: float, keep: int) -> np.ndarray:
        target = self.latent
        for fraction in step_fractions(self.passes, SELECTED_STEP if self.select_drafts else STEP):
            draft = self._draft_planes(target, step, weight, keep)
            target = descend(self.model, self.picture, target, draft, fraction, step, self._curvatures).values
            del draft  # before the next one is made
        return target

    def _draft_planes(self, latent: np.ndarray, step: int, weight: float, keep: int) -> list[np.ndarray]:
        if self.select_drafts:
            return self._select_planes(latent, step, weight, keep)
        return self._round_planes(latent, step, keep)

    def _round_planes(self, latent: np.ndarray, step: int, keep: int) -> list[np.ndarray]:
        """Index planes int16 [h, w] of `latent` [D, h, w] rounded by DRAFT_OFFSET, MISSING beyond `keep` layers.

        The values are close to the selected ones, which take longer.
        """
        kept = {s for layer in self.model.layers[:keep] for s in layer}
        low = self._lifted(latent)
        planes = []
        for s, plane in enumerate(latent):
            if s not in kept:
                planes.append(np.full(plane.shape, MISSING, np.int16))
                continue
            x = (low[s] if s < len(low) else plane.astype(np.float32)) / np.float32(step_size(step))
            size = np.minimum(np.floor(np.abs(x) + np.float32(DRAFT_OFFSET)), LARGEST)
            planes.append((np.copysign(size, x) + LARGEST).astype(np.int16))
        return planes

    def _lifted(self, latent: np.ndarray) -> np.ndarray:
        """Wavelet coefficients float32 of the low band, the first planes of `latent`."""
        return lift(np.array(latent[: self._quantizer.lifted], np.float32))

    @property
    def _quantizer(self) -> UniformConfig:
        quantizer = self.model.config.tokenizer.quantizer
        assert isinstance(quantizer, UniformConfig)
        return quantizer

    @cached_property
    def _tolerance(self) -> np.ndarray:
        """Relative weight of bits at each position of the grid."""
        return tolerance_of(self.picture.pixels, self.model.stride)

    @cached_property
    def _curvatures(self) -> list[np.ndarray] | None:
        """Relative curvature of the distortion [h, w] of each layer."""
        return relative_curvatures(self.picture.pixels, self._quantizer.levels)

    @cached_property
    def _tiles(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each access tile in the token grid."""
        outline = self._tokens([np.broadcast_to(np.int32(0), self.latent.shape[1:])])
        tiles = access_tiles(header_of(outline, self.model.config), self.model.config.tokenizer)
        return [tile.index for tile in tiles if isinstance(tile.index, tuple)]


def step_and_weight(lmbda: float) -> tuple[int, float]:
    """Step number 0..63 of a multiplier, and the weight of bits relative to that of this step: 1 where they agree."""
    size = max(lmbda, 1e-6) ** 0.5
    step = step_number(size)
    return step, lmbda / step_size(step) ** 2
