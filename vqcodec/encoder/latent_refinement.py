"""Latent refinement: damped Newton steps on the latent that lower the decoder's distortion.

Content-adaptive optimization of the latent (Campos et al. 2019, "Content adaptive optimization for neural image
compression"). Indices are selected for the latent z, decoded to codewords y, and the gradient g of the distortion E in
y (distortion.py) moves the latent that the next selection sees. Group by group, E is taken for a parabola about y,

    E(y + v) = E(y) + g.v + (k / 2) |v|^2        with its least value at  y - g / k

and the curvature k is measured along z - y, over the whole picture: k = -g.(z - y) / |z - y|^2. The step is

    z  <-  z + f * cos^2 * (y - g / k - z)

By the choice of k the step is orthogonal to z - y, so the mean distance of the latent from its codewords, and with it
the balance of distance and bits, stays. cos is that of the angle between -g and z - y. Where it is small, in strong
channels whose errors reach into their neighbours, a whole step would oscillate. f falls from pass to pass.

For models with a quantization step the curvature differs from position to position by a factor r, see
relative_curvature.py. There g / (k r) takes the place of g / k, k = -g.(z - y) / sum(r |z - y|^2), and cos is that of
the angle in these units.

Only encoders refine, so floating-point rounding here cannot affect decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from ..config.quantizers import ProductVQConfig, UniformConfig
from ..geometry.rectangles import Rect, Window, grid_size
from ..image.picture import Picture
from ..inference.backend import networks_of, runs_compiled
from ..inference.networks import decoder_windows, lifted_channels
from ..models.loading import Model
from ..runtime.ahead import in_order, run_ahead
from ..runtime.progress import Part, working
from .distortion import Area
from .latent import Latent
from .measures import measures_of

WINDOW_PX = 800
"""Square root of the most pixels of the inner part of a window; memory grows with their number."""
STEP = 1.05
"""f of the first pass as the number of passes grows; see `step_fractions`."""
SELECTED_STEP = 1.4
"""The same where drafts hold scalar values that are selected as those of the file."""
HALO = 0.25
"""Share of the decoder's halo that windows have here, 0..1: 2 % error of the gradient for 25 % less time."""
MAX_RATIO = 4.0
"""Most by which a measured distance per bit may differ from that of training, either way."""
TINY = 1e-12


def step_fractions(passes: int, step: float = STEP) -> list[float]:
    """f of each pass, falling: later selections differ less and less from the last one."""
    return [step * (passes - done) / (passes + 1) for done in range(passes)]


def refine(model: Model, picture: Picture, latent: Latent, planes: Sequence[np.ndarray], fraction: float) -> Latent:
    """One step on `latent`, whose selected `planes` int32 [h, w] are MISSING where a file holds none.

    Args:
        model: its decoder gives error and gradient.
        picture: the original; its alpha weights errors.
        latent: values [D, h, w] before the step.
        planes: int32 [h, w] of each plane.
        fraction: f, 0..1.
    """
    descent = descend(model, picture, latent.values, planes, fraction)
    weights = model.product.lambda_weights[: model.product.groups]
    return Latent(descent.values, *measured_weights(weights, descent.squared_lengths, descent.curvatures))


class Descent(NamedTuple):
    """Result of a step."""

    values: np.ndarray
    """The new latent [D, h, w]."""
    squared_lengths: np.ndarray
    """sum(r |z - y|^2) of each group over the picture [G]; 0 where no curvature could be measured."""
    curvatures: np.ndarray
    """k [G]."""


def descend(
    model: Model,
    picture: Picture,
    values: np.ndarray,
    planes: Sequence[np.ndarray],
    fraction: float,
    step: int | None = None,
    relative: Sequence[np.ndarray] | None = None,
) -> Descent:
    """A step from the latent `values` [D, h, w].

    Args:
        model: as in `refine`, as are the next.
        picture: the original.
        values: the latent before the step.
        planes: int32 [h, w] of each plane.
        fraction: f, 0..SELECTED_STEP.
        step: number of the quantization step, for models that have one.
        relative: relative curvature r [h, w] of each group; None: 1.
    """
    quantizer = model.config.tokenizer.quantizer
    assert isinstance(quantizer, ProductVQConfig | UniformConfig)
    spans = [slice(*ends) for ends in pairwise((0, *accumulate(quantizer.widths)))]
    windows = _windows(model, (values.shape[1], values.shape[2]))
    codewords = DecodedLatent(model, planes, step)
    gradient, measures = np.zeros(values.shape, np.float32), measures_of(model)

    def gradient_of(window: Window) -> np.ndarray:
        with working(Part.REFINEMENT, window.inner.times(model.stride).area):
            return measures.gradient(*codewords.at(window.outer), _area(model.stride, picture, window))

    # The pixels of a window depend on codewords around it, too.
    # Compiled networks take turns; two graphs of torch would take twice the memory.
    results = in_order(gradient_of, windows) if runs_compiled(model) else map(gradient_of, windows)
    for window, found in zip(windows, results, strict=True):
        gradient[:, *window.outer.slices] += found
    codewords.networks.release()
    products, squared_lengths, squared_gradients = (np.zeros(len(spans)) for _ in range(3))
    for window in windows:
        inner = window.inner.slices
        offset = values[:, *inner] - codewords.values(window.inner)  # z - y
        for g, span in enumerate(spans):
            products[g] -= float((offset[span] * gradient[span, *inner]).sum())
            weight = _weight(relative, g, window)
            squared_lengths[g] += float((weight * np.square(offset[span])).sum())
            squared_gradients[g] += float((np.square(gradient[span, *inner]) / weight).sum())
    useful = products > 0
    products, squared_lengths = np.where(useful, products, 1), np.where(useful, squared_lengths, 0)
    cosines2 = np.where(useful, products**2 / np.maximum(squared_lengths * squared_gradients, TINY), 0)
    # The new latent replaces the gradient: each takes 100 MB and more for a large picture.
    moved = gradient if values.dtype == gradient.dtype else np.empty_like(values)
    for window in windows:
        inner = window.inner.slices
        offset = values[:, *inner] - codewords.values(window.inner)
        for g, span in enumerate(spans):
            scaled = gradient[span, *inner] / _weight(relative, g, window)
            newton = -scaled * (squared_lengths[g] / products[g])  # -g / (k r)
            moved[span, *inner] = values[span, *inner] + fraction * cosines2[g] * (newton - offset[span])
    return Descent(moved, squared_lengths, products / np.maximum(squared_lengths, TINY))


def _weight(relative: Sequence[np.ndarray] | None, group: int, window: Window) -> np.ndarray:
    """Relative curvature r [h, w] of a group in the inner part of a window; 1 if None."""
    return np.ones((1, 1), np.float32) if relative is None else relative[group][window.inner.slices]


def measured_weights(
    weights: np.ndarray, squared_lengths: np.ndarray, curvatures: np.ndarray
) -> tuple[np.ndarray, float]:
    """Distance per bit of each group [G] and distortion per bit, at lmbda 1, by the curvatures of this picture.

    A bit is to balance the same distortion in every group, (k_g / 2) * distance, so distances per bit are proportional
    to 1 / k_g. The strong half of the groups keeps the `weights` [G] of training in the mean, as do groups without a
    measured curvature (squared length 0).
    """
    strong = slice(0, max(1, len(weights) // 2))
    if not squared_lengths[strong].any():
        return weights, 0.0
    unit = (curvatures * squared_lengths)[strong].sum() / (squared_lengths / np.maximum(weights, TINY))[strong].sum()
    found = np.where(squared_lengths > 0, unit / np.maximum(curvatures, TINY), weights)
    return np.clip(found, weights / MAX_RATIO, weights * MAX_RATIO), unit / 2


def prepare(model: Model, picture: Picture) -> None:
    """Begin to compile what `refine` needs; to call before the encoder network runs."""
    grid = grid_size(picture.width, picture.height, model.stride)
    window, measures = _windows(model, grid)[0], measures_of(model)
    area = _area(model.stride, picture, window)
    run_ahead(lambda: measures.prepare_gradient(window.outer.shape, area))


def _windows(model: Model, grid: tuple[int, int]) -> list[Window]:
    return decoder_windows(model, grid, WINDOW_PX, HALO)


def _area(stride: int, picture: Picture, window: Window) -> Area:
    """The part of a window's output that counts: its inner part, within the picture."""
    inner = window.inner.times(stride)
    inner = Rect(inner.y0, min(inner.y1, picture.height), inner.x0, min(inner.x1, picture.width))
    alpha = None if picture.alpha is None else picture.alpha[inner.slices]
    return Area(inner.inside(window.outer.times(stride)), picture.pixels[inner.slices], alpha, picture.grey)


class DecodedLatent:
    """The decoder's input that index planes stand for, rectangle by rectangle."""

    def __init__(self, model: Model, planes: Sequence[np.ndarray], step: int | None) -> None:
        self.networks, self.planes, self.step = networks_of(model), planes, step
        self.lifted_channels = lifted_channels(model, planes, step)

    def at(self, part: Rect) -> tuple[np.ndarray, np.ndarray]:
        """Codewords [D, h, w] of a rectangle of the planes, and which groups are kept, [G, h, w] of 0..1."""
        lifted = None if self.lifted_channels is None else self.lifted_channels[:, *part.slices]
        return self.networks.dequantize([plane[part.slices] for plane in self.planes], self.step, lifted)

    def values(self, part: Rect) -> np.ndarray:
        """Codewords [D, h, w] of a rectangle of the planes."""
        return self.at(part)[0]
