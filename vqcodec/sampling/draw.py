"""Sampling of tokens from an entropy model: the integer context model or the float autoregressive model.

The integer context model samples through the code that codes files, with a Drawer in place of the coder. The float
model (factorized_ar.py) samples position by position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..config.model import ModelConfig, TokenizerConfig
from ..errors import UsageError
from ..geometry.token_layout import access_tiles, plane_shapes
from ..models import loading
from ..planes import blank_planes
from ..tokens.tokens import Tokens, entropy_at, has_step, header_of

MAX_SIDE = 2**12
"""Largest side of a sampled picture, pixels."""


class Drawer:
    """Coder that samples each symbol with probability proportional to frequency ** (1 / temperature)."""

    encodes = False

    def __init__(self, rng: np.random.Generator, temperature: float = 1.0) -> None:
        self.rng, self.temperature = rng, temperature

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Fill `symbols` int32 [n] with samples from one table of frequencies [K]."""
        self.code_rows(np.broadcast_to(table, (len(symbols), len(table))), symbols)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Fill `symbols` int32 [n] with samples, each from its row of frequencies [n, K]."""
        weights = (rows / rows.max(-1, keepdims=True)).astype(np.float64) ** (1 / self.temperature)
        bounds = weights.cumsum(-1)
        at = self.rng.random(len(symbols))[:, None] * bounds[:, -1:]
        symbols[:] = np.minimum((bounds <= at).sum(-1), rows.shape[-1] - 1)

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """Sample an option 0..options - 1 uniformly, independent of the temperature."""
        return int(self.rng.integers(options))

    def end_layer(self) -> None:
        """Do nothing: samples do not depend on the ends of layers."""


def draw_tokens(
    name: str,
    width: int,
    height: int,
    seed: int = 0,
    temperature: float = 1.0,
    integer: bool = False,
    *,
    top_k: int = 0,
    top_p: float = 1.0,
    label: int | None = None,
    guidance: float = 1.0,
    device: str = "cpu",
) -> Tokens:
    """Sample the tokens of a picture from the float model in the folder of the model `name`, if it has one.

    The float model samples one grid of tokens, or each window of models with windows. The integer context model
    samples each access tile. Windows and access tiles are independent of each other.

    Args:
        name: name or folder of the model.
        width: width of the picture, 1..MAX_SIDE px.
        height: height of the picture, 1..MAX_SIDE px.
        seed: seed of the random numbers.
        temperature: above 0; below 1 favours likely tokens.
        integer: sample from the integer context model even if there is a float model.
        top_k: float model only, as are the next three; see factorized_ar_draw.Drawing.
        top_p: nucleus sampling, above 0, at most 1.
        label: class of the picture; None: no class.
        guidance: scale of classifier-free guidance, 1: none.
        device: device of the float model.

    Raises ModelError, and UsageError for a size or settings out of range.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"size {width}x{height}: 1..{MAX_SIDE} pixels a side")
    if not temperature > 0:
        raise UsageError(f"temperature {temperature}: more than 0")
    from .factorized_ar import read_far
    from .factorized_ar_draw import Drawing, check_drawing, draw

    model = loading.load_model(name)
    shapes = plane_shapes(model.config.tokenizer, width, height)
    step = _middle_step(model.config)
    blank = Tokens(tuple(blank_planes(shapes, 0)), width, height, name, model.layers, step=step)
    far = None if integer else read_far(model.entry.folder, model.entropy.sizes)
    drawing = Drawing(temperature, top_k, top_p, label, guidance)
    if far is None:
        if drawing != Drawing(temperature):
            raise UsageError(f"top-k, top-p, label and guidance: need a float model; '{name}' is sampled without one")
        for t, tile in enumerate(access_tiles(header_of(blank, model.config), model.config.tokenizer)):
            parts = [np.ascontiguousarray(tile.of(plane)) for plane in blank.planes]
            drawer = Drawer(np.random.default_rng((seed, t)), temperature)
            entropy_at(model, step).code_tiles([drawer], [parts], model.layers)
            for plane, part in zip(blank.planes, parts, strict=True):
                tile.of(plane)[...] = part
        return blank
    import torch

    check_drawing(drawing, far.config.classes)
    far = far.to(device)
    generator = torch.Generator().manual_seed(seed)
    for grids in _grids(blank.planes, model.config.tokenizer):
        _check_grid([grid.shape for grid in grids], far.config.shape, model, blank)
        h, w = grids[0].shape
        for grid, part in zip(grids, draw(far, (h, w), generator, drawing).numpy(), strict=True):
            grid[...] = part
    return blank


def _middle_step(config: ModelConfig) -> int | None:
    """Number of the quantization step at the middle of the ladder; None for models without one."""
    if not has_step(config):
        return None
    from ..transforms.steps import step_number

    return step_number(math.sqrt(config.ladder[len(config.ladder) // 2].lmbda))


def _grids(planes: Sequence[np.ndarray], tokenizer: TokenizerConfig) -> list[list[np.ndarray]]:
    """Grids that the float model samples one at a time, as views of the planes: each window, or the whole planes."""
    if tokenizer.window_px:
        return [[plane[window] for plane in planes] for window in range(len(planes[0]))]
    return [list(planes)]


def _check_grid(shapes: Sequence[tuple[int, ...]], most: tuple[int, int], model: loading.Model, wanted: Tokens) -> None:
    """Raise UsageError for grids that the float model was not trained for."""
    side = model.config.tokenizer.window_px
    what = f"the float model of '{wanted.model}'"
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise UsageError(f"{what} draws planes [h, w] of one shape, and '{wanted.model}' has others; add --integer")
    h, w = shapes[0]
    if h <= most[0] and w <= most[1]:
        return
    if side:
        raise UsageError(
            f"{what} draws at most {most[0]}x{most[1]} tokens, a window of {side} px has {h}x{w}; "
            f"train it with crop={h}, or add --integer"
        )
    largest = f"{most[1] * model.stride}x{most[0] * model.stride}"
    raise UsageError(f"size {wanted.width}x{wanted.height}: {what} draws at most {largest} pixels")
