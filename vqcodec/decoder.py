"""Tokens to the pixels that they stand for, with everything else that a picture holds.

Differs from compute.py: whole pictures with alpha and metadata; grey stays grey.
"""

from __future__ import annotations

import numpy as np

from .geometry.rectangles import Rect
from .image.picture import Picture
from .models.loading import Model
from .tokens.tokens import Tokens


def render(tokens: Tokens, model: Model, region: Rect) -> Picture:
    """Picture of `region` (pixels, within the picture)."""
    from .inference.networks import planes_to_pixels

    pixels = planes_to_pixels(model, list(tokens.planes), region, size=(tokens.width, tokens.height), step=tokens.step)
    if tokens.grey:
        # Three estimates of one value.
        mean = (pixels.sum(-1, dtype=np.uint16) + 1) // 3
        pixels = np.repeat(mean.astype(np.uint8)[..., None], 3, -1)
    alpha = None if tokens.alpha is None else tokens.alpha[region.slices]
    return Picture(pixels, alpha, tokens.grey, tokens.icc, tokens.exif, tokens.xmp)
