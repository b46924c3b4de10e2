"""A file within a budget of bytes, or of at least a quality; ladder_search.py searches the ladder of the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from .. import container
from ..container.truncate import cut_to_bytes
from ..decoder import render
from ..errors import TargetError
from ..geometry.rectangles import Rect
from ..image.picture import Picture
from ..metrics import LEAST_SIDE, visible, window_px
from ..models import loading
from ..tokens.tokens import Tokens
from .expected_work import expect_search
from .ladder_search import CLOSE, encode_at_least, encode_near

FAR_DB = 3.0
"""More than latent refinement adds to a draft: dB of PSNR, and of 1 - MS-SSIM."""

if TYPE_CHECKING:
    from .base import PictureEncoder


class Encoded(NamedTuple):
    """A .vqc file, and the quality of its decoded picture by metric, as far as a search has measured it."""

    data: bytes
    quality: Mapping[str, float] = MappingProxyType({})


def cut_to_budget(data: bytes, max_bytes: int, first_layer: Callable[[], bytes]) -> bytes:
    """The complete file `data`, cut where it is larger than `max_bytes`.

    `first_layer` makes a complete file of the first layer alone. Raises TargetError where that is too large as well.
    """
    if len(data) <= max_bytes:
        return data
    try:
        return cut_to_bytes(container.read(data, max_pixels=None), max_bytes)
    except TargetError:
        # A stream that ends after the first layer is a little shorter than one cut there.
        smallest = first_layer()
        if len(smallest) <= max_bytes:
            return smallest
        alpha_bytes = container.read_head(data, None).alpha_bytes or 0
        part = f", {alpha_bytes} of them alpha" if alpha_bytes else ""
        raise TargetError(
            f"{max_bytes} bytes: the first layer alone makes a file of {len(smallest)}{part}; ask for at least "
            f"{len(smallest)} bytes"
        ) from None


def encode_within(name: str, picture: Picture, max_bytes: int, device: str, effort: int) -> Encoded:
    """The largest file found within the budget: complete, or the next larger one cut where that is not close to it.

    Raises TargetError if not even the first layer fits.
    """
    from .build import encoder_for  # loads torch

    encoder = encoder_for(picture, name, device, effort)
    expect_search(picture, encoder.model, len(encoder.ladder), encoder.passes, decoded=False)
    within, beyond = encode_near(encoder, max_bytes)
    if within is not None and len(within) >= CLOSE * max_bytes:
        return Encoded(within)
    part = cut_to_budget(beyond, max_bytes, lambda: encoder.file(encoder.ladder[0].lmbda, 1))
    return Encoded(max(within or b"", part, key=len))


def encode_reaching(name: str, picture: Picture, metric: str, target: float, device: str, effort: int) -> Encoded:
    """The smallest file found whose `metric` is at least `target`.

    Raises TargetError if the last step of the ladder does not reach it.
    """
    from .build import encoder_for  # loads torch

    if metric == "ms-ssim" and window_px(min(picture.width, picture.height)) is None:
        size = f"{picture.width}x{picture.height}"
        raise TargetError(f"ms-ssim needs {LEAST_SIDE} pixels a side or more, this picture has {size}: ask for psnr")

    @cache
    def quality(encoder: PictureEncoder, lmbda: float, keep: int) -> float:
        return _quality(metric, picture, encoder.tokens(lmbda, keep), encoder.model)

    encoder = encoder_for(picture, name, device, effort)
    last = encoder.ladder[-1]
    reached = quality(encoder.draft, last.lmbda, last.keep)
    if not is_far(metric, reached, target):
        found = encode_at_least(encoder, quality, target)
        if found is not None:
            return Encoded(found.data, {metric: found.quality})
        reached = quality(encoder, last.lmbda, last.keep)
    raise TargetError(f"{metric} {target:g}: the best file of model '{name}' reaches about {reached:.4g}; ask for less")


def is_far(metric: str, reached: float, target: float) -> bool:
    """True if a draft that reached `reached` proves that no search of its model reaches `target`: it lacks FAR_DB."""
    if metric == "psnr":
        return target - reached > FAR_DB
    return 10 * math.log10(max(1 - reached, 1e-9) / max(1 - target, 1e-9)) > FAR_DB


def _quality(metric: str, picture: Picture, tokens: Tokens, model: loading.Model) -> float:
    """`metric` of the decoded tokens against the picture."""
    decoded = render(tokens, model, Rect(0, picture.height, 0, picture.width))
    return visible(metric, picture.pixels, decoded.pixels, picture.alpha)
