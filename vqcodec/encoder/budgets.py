"""The file of a picture within a budget of bytes, or of a least quality, and the model that makes it.

Differs from encoder/rate_control.py, which searches the files of one model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from .. import container
from ..container.truncate import cut_to_bytes
from ..decoder import render
from ..errors import TargetError
from ..geometry.rectangles import Rect
from ..image.picture import Picture
from ..metrics import LEAST_SIDE, visible, window_px
from ..models import loading
from ..models.ladder import fills
from ..tokens.tokens import read_tokens


def cut(data: bytes, max_bytes: int, first_layer: Callable[[], bytes]) -> bytes:
    """The complete file `data`, or as much of it as fits; `first_layer` makes a complete file of that alone."""
    if len(data) <= max_bytes:
        return data
    try:
        return cut_to_bytes(container.read(data, max_pixels=None), max_bytes)
    except TargetError:
        # A stream that ends after the first layer is a little shorter than one cut there.
        smallest = first_layer()
        if len(smallest) <= max_bytes:
            return smallest
        beside = container.read_head(data, None).alpha_bytes or 0
        part = f", {beside} of them alpha" if beside else ""
        raise TargetError(
            f"{max_bytes} bytes: the first layer alone makes a file of {len(smallest)}{part}; ask for at least "
            f"{len(smallest)} bytes"
        ) from None


def encode_within(names: list[str], picture: Picture, max_bytes: int, device: str, effort: int) -> bytes:
    """File of the first model whose finest file fills the budget, or else of the model of higher PSNR.

    The largest complete file within the budget, if that is close to it; or else the next larger one, cut to it.
    """
    from .build import encoder_of
    from .rate_control import CLOSE

    rect = Rect(0, picture.height, 0, picture.width)

    def psnr(data: bytes, model: loading.Model) -> float:
        shown = render(read_tokens(container.read(data, max_pixels=None), model), model, rect)
        return visible("psnr", picture.pixels, shown.pixels, picture.alpha)

    best: bytes | None = None
    reached = -math.inf
    for name in names:
        encoding = encoder_of(picture, name, device, effort)
        under, over = encoding.within(max_bytes)
        if under is None or len(under) < CLOSE * max_bytes:
            try:
                part = cut(over, max_bytes, lambda e=encoding: e.file(e.ladder[0].rate, 1))  # type: ignore[misc]
            except TargetError:
                if best is None:
                    raise
                return best
            under = max(under or b"", part, key=len)
        filled = fills(encoding.rough.step(len(encoding.ladder) - 1), max_bytes)
        if best is None and (filled or name == names[-1]):
            return under
        # What is smooth takes few bits of the first model, and the next one's file may be larger and worse.
        if (shown := psnr(under, encoding.model)) > reached:
            best, reached = under, shown
        if filled:
            break
    assert best is not None
    return best


def encode_reaching(names: list[str], picture: Picture, metric: str, target: float, device: str, effort: int) -> bytes:
    """The smallest file found that reaches the target, of the first model that does at its last step."""
    from .build import Encoder, encoder_of

    if metric == "ms-ssim" and window_px(min(picture.width, picture.height)) is None:
        size = f"{picture.width}x{picture.height}"
        raise TargetError(f"ms-ssim needs {LEAST_SIDE} pixels a side or more, this picture has {size}: ask for psnr")
    rect = Rect(0, picture.height, 0, picture.width)
    reached = 0.0
    for name in names:
        encoding = encoder_of(picture, name, device, effort)

        @cache
        def measured(encoding: Encoder, rate: float, keep: int) -> float:
            shown = render(encoding.tokens(rate, keep), encoding.model, rect)
            return visible(metric, picture.pixels, shown.pixels, picture.alpha)

        found = encoding.reaching(measured, target)
        if found is not None:
            return found
        reached = measured(encoding, encoding.ladder[-1].rate, encoding.ladder[-1].keep)
    raise TargetError(f"{metric} {target:g}: the best file of model '{name}' reaches {reached:.4g}; ask for less")
