"""What codewords are chosen for: the encoder's latent, moved by what the decoder makes of the chosen ones.

Content-adaptive optimization of the latent (Campos et al. 2019, "Content adaptive optimization for neural image
compression"); encoder side only. Between two choices the target of each group moves

    target + step * (code - gradient / curvature - target)

towards where the decoder's error would be least if it were a parabola about the codewords. Its curvature is taken from
the gradient along target - code, the mean one over the picture; so what is left to move by is at right angles to
target - code, and the balance of distance and bits stays as it is. A group takes the whole step if its gradient is all
along target - code. The steps of the others, which are those of strong channels whose errors reach into their
neighbours, are shorter by the square of the cosine: they would swing otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.rectangles import Rect, Window, read_padded
from ..inference.fixed_windows import to_tensor
from ..inference.networks import decoder_windows, in_bfloat16, planes_to_pixels, strong_channels
from ..models.loading import Model

WINDOW_PX = 1024
"""Largest side of the inner part of a window; memory goes with its square."""
STEP = 0.85
"""What the first of very many passes would take; `steps` says what each of a few does."""
HALO = 0.25
"""Share of the decoder's halo that windows have here. Slopes are off by a fiftieth of their length; with all of it they
take a third longer."""
SIMILARITY = 0.2
"""Share of MS-SSIM in the error; the rest is squared error."""
COARSE = (0.2999, 0.3151, 0.2481, 0.1400)
"""Weights of the second to the fifth scale of MS-SSIM, as shares of their sum. The first counts for a twentieth of the
whole and takes three quarters of the time."""
FURTHEST = 4.0
"""Factor by which prices may differ from those of the training pictures."""
TINY = 1e-12
LEAST_UNLIKE = 1e-3
"""The least that 1 - MS-SSIM counts for: that of flat parts is off by up to 1e-4 in float32."""
LEAST_PX = 160
"""MS-SSIM is of pictures with more pixels a side."""


@dataclass(frozen=True)
class Moved:
    """What to choose codewords for, and what the decoder's error says of the worth of a bit at rate 1."""

    values: np.ndarray
    """[D, h, w]."""
    worth: np.ndarray
    """float64 [G], squared distance of each group, by the curvatures of this picture in place of those of training."""
    error: float
    """Of the decoder, in the units of `Errors`."""


def steps(passes: int) -> list[float]:
    """The step of each pass, 0..1, shorter from pass to pass: what the last ones choose has to stay right."""
    return [STEP * (passes - done) / (passes + 1) for done in range(passes)]


def moved(
    model: Model,
    pixels: np.ndarray,
    target: np.ndarray,
    planes: Sequence[np.ndarray],
    step: float,
    alpha: np.ndarray | None = None,
) -> Moved:
    """A `step` (0..1) of `target` [D, h, w] for pixels uint8 [H, W, 3], of which `planes` int32 [h, w], MISSING where a
    file holds none, were chosen for it. Errors count by `alpha` uint8 [H, W]."""
    quantizer = model.tokenizer.quantizer
    found, lengths, along = descend(model, pixels, target, planes, step, alpha=alpha)
    prices = quantizer.prices[: quantizer.groups].double().cpu().numpy()
    return Moved(found, *_worth(prices, lengths, along / np.maximum(lengths, TINY)))


def descend(
    model: Model,
    pixels: np.ndarray,
    target: np.ndarray,
    planes: Sequence[np.ndarray],
    fraction: float,
    step: int | None = None,
    alpha: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A `fraction` (0..1) of the way from `target` [D, h, w] to where the decoder's error is least, group by group.

    `step` is the number of the quantization step, if the model has one; errors count by `alpha` uint8 [H, W]. Returns
    the new target [D, h, w], and of each group the squared distance of target and code, and minus its product with the
    gradient.
    """
    quantizer = model.tokenizer.quantizer
    spans = [slice(*ends) for ends in pairwise((0, *accumulate(quantizer.widths)))]
    windows = decoder_windows(model, (target.shape[1], target.shape[2]), WINDOW_PX, HALO)
    code = Code(model, planes, step)
    slope = np.zeros(target.shape, np.float32)
    for window in windows:
        # What a window shows depends on codes around it, too.
        slope[:, *window.outer.slices] += _slope(model, pixels, code, window, alpha)
    along, lengths, slopes = (np.zeros(len(spans)) for _ in range(3))
    for window in windows:
        inner = window.inner.slices
        short = target[:, *inner] - code.at(window.inner)[0][0].cpu().numpy()
        for g, span in enumerate(spans):
            along[g] -= float((short[span] * slope[span, *inner]).sum())
            lengths[g] += float(np.square(short[span]).sum())
            slopes[g] += float(np.square(slope[span, *inner]).sum())
    useful = along > 0
    along, lengths = np.where(useful, along, 1), np.where(useful, lengths, 0)
    shares = np.where(useful, along**2 / np.maximum(lengths * slopes, TINY), 0)
    found = target.copy()
    for window in windows:
        inner = window.inner.slices
        short = target[:, *inner] - code.at(window.inner)[0][0].cpu().numpy()
        for g, span in enumerate(spans):
            found[span, *inner] += fraction * shares[g] * (-slope[span, *inner] * (lengths[g] / along[g]) - short[span])
    return found, lengths, along


def _slope(model: Model, pixels: np.ndarray, chosen: Code, window: Window, alpha: np.ndarray | None) -> np.ndarray:
    """Gradient of the decoder's error in the inner part of a window, in the code of all of it: float32 [D, h, w]."""
    code, kept = (part.clone(memory_format=torch.channels_last) for part in chosen.at(window.outer))
    code.requires_grad_()
    with torch.enable_grad():
        with in_bfloat16(model.device):
            y = model.tokenizer.decoder(code, kept).float()
        error = _error(*_seen(model, pixels, window, y, alpha))
        (slope,) = torch.autograd.grad(error, code)
    found: np.ndarray = slope[0].cpu().numpy()
    return found


def _worth(prices: np.ndarray, lengths: np.ndarray, curvatures: np.ndarray) -> tuple[np.ndarray, float]:
    """Prices [G] in proportion to 1 / curvature where that was measured; the strong groups keep theirs on the whole.
    And the error that goes with them.

    `lengths` are the squared distances that the curvatures were measured over, 0 where they were not.
    """
    strong = slice(0, max(1, len(prices) // 2))
    if not lengths[strong].any():
        return prices, 0.0
    unit = (curvatures * lengths)[strong].sum() / (lengths / np.maximum(prices, TINY))[strong].sum()
    found = np.where(lengths > 0, unit / np.maximum(curvatures, TINY), prices)
    # The gradient of c * distance**2 is 2 * c * distance.
    return np.clip(found, prices / FURTHEST, prices * FURTHEST), unit / 2


def _seen(
    model: Model, pixels: np.ndarray, window: Window, y: Tensor, alpha: np.ndarray | None
) -> tuple[Tensor, Tensor]:
    """Inner part of a window's output, beside the picture: [1, 3, H, W] each; errors shrunk by alpha."""
    inner = window.inner.times(model.stride)
    rows, columns = inner.inside(window.outer.times(model.stride)).slices
    height, width = min(inner.y1, pixels.shape[0]) - inner.y0, min(inner.x1, pixels.shape[1]) - inner.x0
    x = to_tensor([read_padded(pixels, inner)], model.device)
    y, x = y[:, :, rows, columns][:, :, :height, :width], x[:, :, :height, :width]
    part = None if alpha is None else alpha[inner.y0 : inner.y0 + height, inner.x0 : inner.x0 + width]
    return _by_alpha(y, x, part), x


def _by_alpha(y: Tensor, x: Tensor, alpha: np.ndarray | None) -> Tensor:
    """y with its errors as small as they are in a composite; alpha uint8 [H, W]."""
    if alpha is None or alpha.min() == 255:
        return y
    share = torch.from_numpy(alpha.astype(np.float32) / 255).to(x.device)
    return x + (y - x) * share


class Code:
    """The latent that index planes stand for, window by window."""

    def __init__(self, model: Model, planes: Sequence[np.ndarray], step: int | None) -> None:
        self.model, self.planes, self.step = model, planes, step
        self.strong = strong_channels(model, planes, step)

    def at(self, part: Rect) -> tuple[Tensor, Tensor]:
        """Code [1, D, h, w] of a part of the planes, and which groups of it are kept [1, G, h, w]."""
        indices = [torch.from_numpy(p[part.slices].astype(np.int64))[None].to(self.model.device) for p in self.planes]
        strong = None if self.strong is None else self.strong[:, :, *part.slices]
        told = () if self.step is None else (self.step, strong)
        with torch.inference_mode():
            found: tuple[Tensor, Tensor] = self.model.tokenizer.quantizer.dequantize(indices, *told)
        return found


@dataclass(frozen=True)
class Errors:
    """Of a part of a picture."""

    squared: float
    """Sum of squared errors of pixels in -1..1."""
    unlike: float | None
    """1 - MS-SSIM over its coarse scales; None where the part is too small."""

    def beside(self, other: Errors) -> float:
        """This error in the mixture of `_error`, with the shares that `other` has in it."""
        if other.unlike is None or self.unlike is None:
            return self.squared
        share = max(self.unlike, LEAST_UNLIKE) / max(other.unlike, LEAST_UNLIKE)
        return (1 - SIMILARITY) * self.squared + SIMILARITY * other.squared * share


@torch.inference_mode()
def errors_of(
    model: Model,
    pixels: np.ndarray,
    planes: Sequence[np.ndarray],
    parts: Sequence[Rect],
    alpha: np.ndarray | None = None,
) -> list[Errors]:
    """Errors of what the decoder makes of `planes` in each of `parts`, in pixels; they may reach beyond the picture.

    Errors count by `alpha` uint8 [H, W].
    """
    height, width = pixels.shape[:2]
    shown = planes_to_pixels(model, list(planes), Rect(0, height, 0, width))
    found = []
    for part in parts:
        y, x = (to_tensor([np.ascontiguousarray(p[part.slices])], model.device) for p in (shown, pixels))
        y = _by_alpha(y, x, None if alpha is None else alpha[part.slices])
        unlike = _unlike(y, x)
        found.append(Errors(float((y - x).square().sum()), None if unlike is None else float(unlike)))
    return found


def _error(y: Tensor, x: Tensor) -> Tensor:
    """Squared error and 1 - MS-SSIM, each as a share of what it is, in units of the first."""
    squared, unlike = (y - x).square().sum(), _unlike(y, x)
    if unlike is None:
        return squared
    return (1 - SIMILARITY) * squared + SIMILARITY * squared.detach() * unlike / unlike.detach().clamp_min(LEAST_UNLIKE)


def _unlike(y: Tensor, x: Tensor) -> Tensor | None:
    """1 - MS-SSIM of pictures in -1..1; None for small ones."""
    if min(x.shape[-2:]) <= LEAST_PX:
        return None
    from pytorch_msssim import ms_ssim

    shown, wanted = (y.clamp(-1, 1) + 1) / 2, (x + 1) / 2
    if y.is_cuda:  # where convolutions of single channels are many times slower on channels that lie side by side
        shown, wanted = shown.contiguous(), wanted.contiguous()
    weights = None
    if min(x.shape[-2:]) > 2 * LEAST_PX:
        odd = [side % 2 for side in x.shape[-2:]]
        shown, wanted = (F.avg_pool2d(part, 2, padding=odd) for part in (shown, wanted))
        weights = COARSE
    unlike: Tensor = 1 - ms_ssim(shown, wanted, data_range=1.0, weights=weights)
    return unlike
