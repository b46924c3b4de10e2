"""Resizing and cropping of the pictures of an evaluation, as the papers' scripts do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from ..errors import InputError
from ..metrics import Pixels


@dataclass(frozen=True)
class Preparation:
    """Resize, then crop the centre.

    Methods: `cover`, one bicubic resize, so that the picture just covers the crop (MGVQ's script); `adm`, box filters
    that halve the picture while its short side is at least twice as long, then bicubic (Dhariwal and Nichol 2021; the
    scripts of LlamaGen, FQGAN, XQ-GAN and SoftVQ-VAE).
    """

    short_side: int | None = None
    """Pixels of the short side after resizing; None: with a crop, the picture keeps its size."""
    crop: tuple[int, int] | None = None
    """Width and height in pixels of the centre that is kept; None: everything."""
    method: Literal["cover", "adm"] = "adm"

    def apply(self, pixels: Pixels) -> Pixels:
        """uint8 [H, W, 3] -> the prepared picture. Raises InputError if it is smaller than the crop."""
        image = Image.fromarray(pixels)
        if self.method == "cover" and self.crop is not None:
            image = _cover(image, *self.crop)
        elif self.short_side is not None:
            image = _shrink(image, self.short_side)
        return np.ascontiguousarray(_centre(np.asarray(image), self.crop) if self.crop else np.asarray(image))


def _cover(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.width / image.height < width / height:
        size = width, round(image.height / image.width * width)
    else:
        size = round(image.width / image.height * height), height
    return image.resize(size, Image.Resampling.BICUBIC)


def _shrink(image: Image.Image, side: int) -> Image.Image:
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _centre(pixels: Pixels, crop: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    if width < crop[0] or height < crop[1]:
        raise InputError(f"{width}x{height} px: smaller than the crop of {crop[0]}x{crop[1]} px")
    x, y = (width - crop[0]) // 2, (height - crop[1]) // 2
    return pixels[y : y + crop[1], x : x + crop[0]]
