"""Decoder: tokens to a picture with alpha and metadata."""

from __future__ import annotations

from .geometry.rectangles import Rect
from .image.grey import average_channels
from .image.picture import Picture
from .models.loading import Model
from .runtime.progress import Part, working
from .tokens.tokens import Tokens


def render(tokens: Tokens, model: Model, region: Rect) -> Picture:
    """Decode `region`, in pixels, within the picture. Pictures that were grey before encoding are grey again."""
    with working(Part.START_UP):
        from .inference.networks import planes_to_pixels  # loads torch

    pixels = planes_to_pixels(model, list(tokens.planes), region, size=(tokens.width, tokens.height), step=tokens.step)
    if tokens.grey:
        average_channels(pixels)
    alpha = None if tokens.alpha is None else tokens.alpha[region.slices]
    return Picture(pixels, alpha, tokens.grey, tokens.icc, tokens.exif, tokens.xmp)
