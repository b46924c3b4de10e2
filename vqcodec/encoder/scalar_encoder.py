"""Encoder of models with a quantization step: one pass of the encoder network, then a file at any rate.

The rate of the ladder is the square of the step: step number and weight of bits follow from it, so files between two
step numbers differ in the weight alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np

from ..config.quantizers import LARGEST
from ..entropy.coder import TileEncoder
from ..geometry.token_layout import access_tiles
from ..image.picture import Picture
from ..inference.networks import pixels_to_latent
from ..models import loading
from ..planes import MISSING
from ..quantizers.uniform import step_number, step_size
from ..tokens.tokens import Tokens, assemble, entropy_at, from_picture, header_of
from .rate_control import RateControl
from .scalar_selection import select_tile

PASSES = {6: 1, 7: 2, 8: 4, 9: 10}
"""Passes of latent refinement by effort; none below."""
ROUGH = min(PASSES) - 1
TARGETS = 2
"""Most refined latents that are remembered: a search goes back and forth between neighbouring steps."""


class ScalarEncoder(RateControl):
    """The files that `picture` can become under model `name`, by rate = squared quantization step.

    `effort` 1..5: one pass; 6..9: with latent refinement (`PASSES`). Raises ModelError, LimitError.
    """

    by_rate = True

    def __init__(self, picture: Picture, name: str, device: str = "cpu", effort: int = 6) -> None:
        self.model = loading.load_model(name, device)
        self.name, self.picture, self.effort = name, picture, effort
        self.ladder = self.model.config.ladder
        self._latent = pixels_to_latent(self.model, picture.pixels)
        self._targets: dict[tuple[int, float, int], np.ndarray] = {}
        self._files: dict[tuple[float, int], bytes] = {}

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the latent."""
        return self._latent.shape[1], self._latent.shape[2]

    @cached_property
    def rough(self) -> ScalarEncoder:
        """The same without latent refinement."""
        if self.effort <= ROUGH:
            return self
        other = copy(self)
        other.effort, other._files = ROUGH, {}
        return other

    def file(self, rate: float, keep: int | None = None) -> bytes:
        """The complete file at `rate`; each is made once."""
        place = (rate, keep or len(self.model.layers))
        if place not in self._files:
            self._files[place] = self._encode(rate, keep)[1]
        return self._files[place]

    def tokens(self, rate: float, keep: int | None = None) -> Tokens:
        """The index planes at `rate`, of the first `keep` layers if given."""
        return self._encode(rate, keep)[0]

    def _encode(self, rate: float, keep: int | None) -> tuple[Tokens, bytes]:
        step, weight = step_and_weight(rate)
        layers = self.model.layers[:keep]
        blank = self._tokens([np.broadcast_to(np.int32(0), self.grid)] * len(self.model.entropy.sizes), step, layers)
        header = header_of(blank, self.model.config)
        values, segments = self._select(self._target(step, weight, len(layers)), step, weight, len(layers), True)
        tokens = self._tokens(indices_of(values, [s for layer in layers for s in layer]), step, layers)
        return tokens, assemble(tokens, header, segments)

    def _select(
        self, latent: np.ndarray, step: int, weight: float, keep: int, coded: bool
    ) -> tuple[np.ndarray, list[list[bytes]]]:
        """Values int32 [D, h, w] of the first `keep` layers, and with `coded` the segments of each tile."""
        entropy = entropy_at(self.model, step)
        blank = self._tokens([np.broadcast_to(np.int32(0), self.grid)], step, self.model.layers)
        tiles = access_tiles(header_of(blank, self.model.config), self.model.config.tokenizer)
        values = np.zeros(latent.shape, np.int32)
        coefficients = self._coefficients(latent)
        segments = []
        for tile in tiles:
            assert isinstance(tile.index, tuple)
            targets = np.asarray(coefficients[:, *tile.index], np.float32) / np.float32(step_size(step))
            coder = TileEncoder() if coded else None
            values[:, *tile.index] = select_tile(entropy, targets, weight, range(keep), coder)  # type: ignore[arg-type]
            segments.append(coder.segments() if coder else [])
        return values, segments

    def _coefficients(self, latent: np.ndarray) -> np.ndarray:
        """Latent [D, h, w] -> the numbers that are rounded, see `Uniform.coefficients`."""
        import torch

        quantizer = self.model.tokenizer.quantizer
        strong = torch.from_numpy(np.asarray(latent[: quantizer.lifted], np.float32))[None]
        if not quantizer.lifted:
            return latent
        found = np.array(latent, np.float32)  # float16 would round large coefficients
        found[: quantizer.lifted] = quantizer.coefficients(strong)[0].numpy()
        return found

    def _target(self, step: int, weight: float, keep: int) -> np.ndarray:
        """The latent that values are selected for, refined by effort."""
        passes = PASSES.get(self.effort, 0)
        place = (step, weight, keep)
        if not passes:
            return self._latent
        if place not in self._targets:
            from .scalar_refinement import refine  # loads what only gradients need

            target = self._latent
            for done in range(passes):
                values, _ = self._select(target, step, weight, keep, False)
                planes = indices_of(values, [s for layer in self.model.layers[:keep] for s in layer])
                picture = self.picture
                target = refine(self.model, picture.pixels, target, planes, step, done, passes, picture.alpha)
            while len(self._targets) >= TARGETS:
                self._targets.pop(next(iter(self._targets)))
            self._targets[place] = target
        return self._targets[place]

    def _tokens(self, planes: Sequence[np.ndarray], step: int, layers: Sequence[Sequence[int]]) -> Tokens:
        from dataclasses import replace

        found = from_picture(self.picture, planes, self.model.config)
        return replace(found, model=self.name, step=step, layers=tuple(tuple(layer) for layer in layers))


def step_and_weight(rate: float) -> tuple[int, float]:
    """Step number of a rate, and the weight of bits relative to that of the step itself: 1 where they agree."""
    size = max(rate, 1e-6) ** 0.5
    step = step_number(size)
    return step, rate / step_size(step) ** 2


def indices_of(values: np.ndarray, planes: Sequence[int]) -> list[np.ndarray]:
    """Values int32 [D, h, w] -> index planes, MISSING but for those of `planes`."""
    there = set(planes)
    return [plane + np.int32(LARGEST) if s in there else np.full_like(plane, MISSING) for s, plane in enumerate(values)]
