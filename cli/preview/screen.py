"""Pictures for the screen: sRGB, no larger than needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def for_screen(image: Image.Image, max_side: int) -> Image.Image:
    """The picture in sRGB, without metadata, scaled down to at most `max_side` pixels a side."""
    from PIL import Image

    from vqcodec.image.picture import from_pillow, strip, to_pillow

    small = image.copy()
    small.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return to_pillow(strip(from_pillow(small)))
