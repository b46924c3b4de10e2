"""Grey pictures: found before encoding, and restored to equal channels after decoding, without a tint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .hidden_colour import FAINT
from .picture import Picture
from .pixels import Bytes, blocks


def with_grey_found(picture: Picture) -> Picture:
    """The picture, marked as grey if its channels are equal in every pixel and some pixel is visible."""
    if picture.grey or (picture.alpha is not None and picture.alpha.max() <= FAINT):
        return picture
    for window in blocks(picture.height, picture.width):
        part = picture.pixels[window]
        if (part[..., 0] != part[..., 1]).any() or (part[..., 0] != part[..., 2]).any():
            return picture
    return replace(picture, grey=True)


def average_channels(pixels: Bytes) -> None:
    """Replace the channels of pixels [H, W, 3] by their mean, rounded, in place.

    The three channels of a decoded grey picture estimate the same value.
    """
    for window in blocks(*pixels.shape[:2]):
        pixels[window] = ((pixels[window].sum(-1, dtype=np.uint16) + 1) // 3).astype(np.uint8)[..., None]
