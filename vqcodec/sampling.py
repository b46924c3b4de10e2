"""Tokens drawn at random instead of taken from a picture: what an entropy model holds for likely.

The integer context model draws through its own coding code, as `entropy.choose` chooses; the float model of `far.py`
row by row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import registry
from .errors import UsageError
from .layout import access_tiles, blank_planes, plane_shapes
from .tokens import Tokens, header_of

MAX_SIDE = 2**12
"""Pixels: a drawn picture shows no more at any size."""


class Drawer:
    """A coder that draws each symbol by its frequency, to the power 1 / temperature."""

    def __init__(self, rng: np.random.Generator, temperature: float = 1.0) -> None:
        self.rng, self.temperature = rng, temperature

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        self.code_rows(np.broadcast_to(table, (len(symbols), len(table))), symbols)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        weights = (rows / rows.max(-1, keepdims=True)).astype(np.float64) ** (1 / self.temperature)
        bounds = weights.cumsum(-1)
        at = self.rng.random(len(symbols))[:, None] * bounds[:, -1:]
        symbols[:] = np.minimum((bounds <= at).sum(-1), rows.shape[-1] - 1)

    def choose(self, options: int, decide: Callable[[], int]) -> int:
        return int(self.rng.integers(options))

    def end_layer(self) -> None:
        """Layers make no difference here."""


def draw_tokens(
    name: str, width: int, height: int, seed: int = 0, temperature: float = 1.0, integer: bool = False
) -> Tokens:
    """Tokens of a picture of `width` x `height` px, from the float model beside the model `name` if there is one.

    Without one, or if `integer`, they come from the model that codes files; its tiles do not see one another.
    Raises ModelError, and UsageError for a size that cannot be.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"size {width}x{height}: 1..{MAX_SIDE} pixels a side")
    if not temperature > 0:
        raise UsageError(f"temperature {temperature}: more than 0")
    from .far import read_far

    model = registry.load_model(name)
    shapes = plane_shapes(model.config.tokenizer, width, height)
    blank = Tokens(tuple(blank_planes(shapes, 0)), width, height, name, model.layers)
    far = None if integer else read_far(model.entry.folder, model.entropy.sizes)
    if far is None:
        for t, tile in enumerate(access_tiles(header_of(blank, model.config), model.config.tokenizer)):
            parts = [np.ascontiguousarray(tile.of(plane)) for plane in blank.planes]
            drawer = Drawer(np.random.default_rng((seed, t)), temperature)
            model.entropy.code_tiles([drawer], [parts], model.layers)
            for plane, part in zip(blank.planes, parts, strict=True):
                tile.of(plane)[...] = part
        return blank
    import torch

    most = far.config.shape
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or shapes[0][0] > most[0] or shapes[0][1] > most[1]:
        side = f"{most[1] * model.stride}x{most[0] * model.stride}"
        raise UsageError(f"size {width}x{height}: the float model of '{name}' draws at most {side} pixels")
    h, w = shapes[0]
    drawn = far.draw((h, w), torch.Generator().manual_seed(seed), temperature)
    for plane, part in zip(blank.planes, drawn.numpy(), strict=True):
        plane[...] = part
    return blank
