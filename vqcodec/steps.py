"""One picture at every step of a model's ladder, from one pass of the encoder network.

Differs from family.py, which chooses a step, and from cutting.py, which shortens the file of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from . import registry
from .compute import pixels_to_planes_at
from .family import ladder
from .image import Picture
from .tokens import Tokens, from_picture, write_tokens


class Steps:
    """The files that `picture` can become; `len` of them, smallest first. Raises ModelError, LimitError."""

    def __init__(self, picture: Picture, name: str, device: str = "cpu") -> None:
        self.model = registry.load_model(name, device)
        self.name, self.picture = name, picture
        self.ladder = ladder(self.model.config)
        rates = list(dict.fromkeys(step.rate for step in self.ladder))
        found = pixels_to_planes_at(self.model, picture.pixels, rates)
        # Of a large picture there are many planes; most alphabets fit a byte.
        smallest = [np.min_scalar_type(size - 1) for size in self.model.tokenizer.sizes]
        self._planes = {
            rate: [plane.astype(kind) for plane, kind in zip(planes, smallest, strict=True)]
            for rate, planes in zip(rates, found, strict=True)
        }
        self._files: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.ladder)

    def tokens(self, step: int) -> Tokens:
        """The kept layers at `step`, 0..len - 1."""
        place = self.ladder[step]
        planes = [plane.astype(np.int32) for plane in self._planes[place.rate]]
        tokens = replace(from_picture(self.picture, planes, self.model.config), model=self.name)
        return tokens.kept(place.keep)

    def file(self, step: int) -> bytes:
        """The complete file at `step`; each is coded once."""
        if step not in self._files:
            self._files[step] = write_tokens(self.tokens(step), self.model)
        return self._files[step]

    def first(self, enough: Callable[[int], bool]) -> int:
        """The first step that is `enough`, taking it that those after it are too; the last, if none is."""
        low, high = 0, len(self) - 1
        while low < high:
            middle = (low + high) // 2
            if enough(middle):
                high = middle
            else:
                low = middle + 1
        return low
