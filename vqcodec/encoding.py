"""A picture on its way to a file: one pass of the encoder network, and the files it can become at any rate.

Differs from family.py, which chooses a model, and from cutting.py, which shortens the file of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from . import registry
from .compute import pixels_to_latent, pixels_to_planes
from .entropy.choose import Choice, Distances, choose_tiles
from .family import ladder
from .image import Picture
from .layout import grid_tiles
from .tiling import Rect
from .tokens import Tokens, assemble, from_picture, header_of, write_tokens

EFFORT = 5
"""The default: one pass of choosing under the entropy model."""
PROFILES: dict[int, tuple[float, ...]] = {6: (1.0, 0.7), 7: (1.0, 0.7, 1.4), 8: (1.0, 0.5, 0.7, 1.4)}
"""By effort: what is tried for each access tile as the price of bits in the coarse planes, as a share of the price of
those in the fine ones. The more a coarse plane tells, the less its neighbours and the planes after it cost."""
PROFILES[9] = (1.0, 0.35, 0.5, 0.7, 0.85, 1.2, 1.4)
CLOSE = 0.975
"""A file that uses this share of a budget is large enough."""
SEARCH = 6
"""Most files that are made between two steps of the ladder to come close to a budget or a quality."""


class Encoding:
    """The files that `picture` can become, by `rate`: how much bits count when indices are chosen.

    `effort` 1: each codeword for itself, by a rate that knows no context. 2..5: under the entropy model. 6..9: several
    passes of that. It makes no difference where a model was trained without a rate; neither does `rate` then.
    Raises ModelError, LimitError.
    """

    def __init__(self, picture: Picture, name: str, device: str = "cpu", effort: int = EFFORT) -> None:
        self.model = registry.load_model(name, device)
        self.name, self.picture, self.effort = name, picture, effort
        self.ladder = ladder(self.model.config)
        quantizer = self.model.tokenizer.quantizer
        self.by_rate = hasattr(quantizer, "prices") and bool(quantizer.costs.any())
        """Whether the rate makes a difference."""
        chosen = self.by_rate and bool(quantizer.prices.any()) and self.model.entropy.kind == "context"
        chosen = chosen and not self.model.config.tokenizer.side
        self._scores = _Scores(self.model, picture.pixels) if chosen and effort > 1 else None
        self._planes: dict[float, list[np.ndarray]] = {}
        self._files: dict[tuple[float, int], bytes] = {}

    def tokens(self, rate: float, keep: int | None = None) -> Tokens:
        """The first `keep` layers at `rate`; without `keep`, all."""
        if self._scores is None:
            planes = self._plain(rate)
        else:
            shape = self._scores.latent.shape[1:]
            planes = [np.empty(shape, np.int32) for _ in self.model.entropy.sizes]
            tiles = grid_tiles(header_of(self._tokens(planes), self.model.config), self.model.stride)
            for tile, choice in zip(tiles, self._choose(tiles, rate, self.model.layers, False), strict=True):
                for plane, part in zip(planes, choice.planes, strict=True):
                    plane[tile.slices] = part
        tokens = self._tokens(planes)
        return tokens if keep is None else tokens.kept(keep)

    def file(self, rate: float, keep: int | None = None) -> bytes:
        """The complete file of `tokens(rate, keep)`; each is made once."""
        place = (rate if self.by_rate else 0.0, keep or len(self.model.layers))
        if place not in self._files:
            self._files[place] = self._file(rate, keep)
        return self._files[place]

    def _file(self, rate: float, keep: int | None) -> bytes:
        if self._scores is None:
            return write_tokens(self.tokens(rate, keep), self.model)
        shape = self._scores.latent.shape[1:]
        known = self._tokens([np.broadcast_to(np.int32(0), shape) for _ in self.model.entropy.sizes])
        known = replace(known, layers=known.layers[: keep or len(known.layers)])
        header = header_of(known, self.model.config)
        tiles = grid_tiles(header, self.model.stride)
        chosen = self._choose(tiles, rate, known.layers, True)
        return assemble(known, header, [choice.segments for choice in chosen])

    def _choose(self, tiles: Sequence[Rect], rate: float, layers: Sequence[Sequence[int]], coded: bool) -> list[Choice]:
        assert self._scores is not None
        scores, model = self._scores, self.model.entropy
        shapes = [(tile.shape,) * len(model.sizes) for tile in tiles]
        distances = scores.distances(tiles)
        profiles = PROFILES.get(self.effort, (1.0,))
        prices = [
            np.outer(np.ones(len(tiles)), scores.prices * rate * _tilt(share, len(model.sizes))) for share in profiles
        ]
        if len(prices) > 1:
            tried = [choose_tiles(model, distances, price, shapes, layers) for price in prices]
            worth = np.maximum(scores.prices * rate, 1e-12)
            costs = np.array([[choice.bits.sum() + (choice.distances / worth).sum() for choice in t] for t in tried])
            best = costs.argmin(0)
            prices = [np.stack([prices[b][t] for t, b in enumerate(best)])]
        return choose_tiles(model, distances, prices[0], shapes, layers, coded=coded)

    def _plain(self, rate: float) -> list[np.ndarray]:
        """Each codeword chosen for itself; of models without a rate there is but one result."""
        rate = rate if self.by_rate else 0.0
        if rate not in self._planes:
            # Of a large picture there are many planes; most alphabets fit a byte.
            smallest = [np.min_scalar_type(size - 1) for size in self.model.tokenizer.sizes]
            found = pixels_to_planes(self.model, self.picture.pixels, rate=rate)
            self._planes[rate] = [plane.astype(kind) for plane, kind in zip(found, smallest, strict=True)]
        return [plane.astype(np.int32) for plane in self._planes[rate]]

    def _tokens(self, planes: Sequence[np.ndarray]) -> Tokens:
        return replace(from_picture(self.picture, planes, self.model.config), model=self.name)

    def first(self, enough: Callable[[int], bool]) -> int:
        """The first step of the ladder that is `enough`, taking it that those after it are too; the last, if none."""
        low, high = 0, len(self.ladder) - 1
        while low < high:
            middle = (low + high) // 2
            if enough(middle):
                high = middle
            else:
                low = middle + 1
        return low

    def step(self, i: int) -> bytes:
        """The file at step i of the ladder."""
        return self.file(self.ladder[i].rate, self.ladder[i].keep)

    def within(self, max_bytes: int) -> tuple[bytes | None, bytes]:
        """The largest complete file within `max_bytes` that was found, and the smallest found beyond it.

        The second is the finest of all where that fits too. Files shrink as the rate grows, near enough.
        """
        i = self.first(lambda step: len(self.step(step)) > max_bytes)
        over = self.step(i)
        if len(over) <= max_bytes:
            return over, over
        under = self.step(i - 1) if i > 0 and len(self.step(i - 1)) <= max_bytes else None
        if not self.by_rate or under is None or self.ladder[i].keep != self.ladder[i - 1].keep:
            return under, over
        low, high = self.ladder[i].rate, self.ladder[i - 1].rate
        for _ in range(SEARCH):
            if len(under) >= CLOSE * max_bytes or high / max(low, 1e-9) < 1.002:
                break
            share = (len(over) - max_bytes * (1 + CLOSE) / 2) / max(len(over) - len(under), 1)
            rate = _between(low, high, min(max(share, 0.1), 0.9))
            made = self.file(rate, self.ladder[i].keep)
            if len(made) <= max_bytes:
                high, under = rate, max(under, made, key=len)
            else:
                low, over = rate, min(over, made, key=len)
        return under, over

    def reaching(self, measured: Callable[[float, int], float], target: float) -> bytes | None:
        """The smallest file found whose `measured(rate, keep)` is at least `target`; None if the finest is not."""
        at = [lambda i=i: measured(self.ladder[i].rate, self.ladder[i].keep) for i in range(len(self.ladder))]
        if at[-1]() < target:
            return None
        i = self.first(lambda step: at[step]() >= target)
        found = self.step(i)
        if i == 0 or not self.by_rate or self.ladder[i].keep != self.ladder[i - 1].keep:
            return found
        low, high = self.ladder[i].rate, self.ladder[i - 1].rate
        for _ in range(SEARCH):
            rate = _between(low, high, 0.5)
            if measured(rate, self.ladder[i].keep) >= target:
                low, found = rate, min(found, self.file(rate, self.ladder[i].keep), key=len)
            else:
                high = rate
        return found


class _Scores:
    """The latent of a picture, and how far it is from the codewords."""

    def __init__(self, model: registry.Model, pixels: np.ndarray) -> None:
        quantizer = model.tokenizer.quantizer
        self.latent = pixels_to_latent(model, pixels)
        self.prices = quantizer.prices.double().cpu().numpy()
        codebooks = quantizer.codebooks.float().cpu().numpy()
        self.codebooks = [book[:, :width] for book, width in zip(codebooks, quantizer.widths, strict=True)]
        self.lengths = [np.square(book).sum(1) for book in self.codebooks]
        self.ends = np.cumsum([0, *quantizer.widths])

    def distances(self, tiles: Sequence[Rect]) -> Distances:
        """Squared distances of the latent in `tiles` from the codewords of each plane."""

        def measure(tile: int, s: int, positions: np.ndarray) -> np.ndarray:
            part = self.latent[self.ends[s] : self.ends[s + 1], *tiles[tile].slices]
            rows = part.reshape(len(part), -1)[:, positions].T.astype(np.float32)
            found = rows @ (-2 * self.codebooks[s].T)
            found += self.lengths[s]
            found += np.square(rows).sum(1)[:, None]
            return found

        return measure


def _tilt(share: float, planes: int) -> np.ndarray:
    """Factors of the prices [planes]: from `share` for the coarsest plane to 1 for those of the finer half."""
    return np.asarray(share ** np.maximum(0.0, 1 - np.arange(planes) / max(planes / 2, 1)))


def _between(low: float, high: float, share: float) -> float:
    """From `low` at 0 to `high` at 1, evenly in the logarithm; rates of 0 count as a thousandth of `high`."""
    low = max(low, high / 1000)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
