"""Cutting of a crop from a decoded picture: at its own scale, or after resizing its short side.

Both functions take (pixels uint8 [H, W, 3], random numbers, settings) and return uint8 [crop, crop, 3].
"""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image

from ..recipe.schema import DataRecipe


def native_cut(pixels: np.ndarray, rng: random.Random, data: DataRecipe) -> np.ndarray:
    """Crop at the picture's own scale, or in half of the cases downscaled, which removes its JPEG artefacts."""
    scale = 1.0 if rng.random() < 0.5 else rng.uniform(data.min_scale, 1)
    left, top, flip = rng.random(), rng.random(), rng.random() < 0.5
    crop = data.crop
    side = min(round(crop / scale), *pixels.shape[:2])
    y, x = int(top * (pixels.shape[0] - side + 1)), int(left * (pixels.shape[1] - side + 1))
    part = pixels[y : y + side, x : x + side]
    if side != crop:
        resized = Image.fromarray(np.ascontiguousarray(part)).resize((crop,) * 2, Image.Resampling.LANCZOS)
        part = np.asarray(resized)
    return part[:, ::-1] if flip else part


def resized_cut(pixels: np.ndarray, rng: random.Random, data: DataRecipe) -> np.ndarray:
    """Resize the short side to a random length in `data.short_side` (in crops), then crop and flip at random.

    With 256 px and (1, 1.25) these are LlamaGen's crops of 256..320 px, which FQGAN, XQ-GAN, SoftVQ-VAE and MGVQ use.
    """
    low, high = side_range(data)
    resized = resized_picture(pixels, rng.randint(low, high))
    left, top, flip = rng.random(), rng.random(), rng.random() < 0.5
    y, x = int(top * (resized.shape[0] - data.crop + 1)), int(left * (resized.shape[1] - data.crop + 1))
    part = resized[y : y + data.crop, x : x + data.crop]
    return part[:, ::-1] if flip else part


def side_range(data: DataRecipe) -> tuple[int, int]:
    """Shortest and longest short side, pixels."""
    low, high = data.short_side
    return math.ceil(low * data.crop), max(math.ceil(low * data.crop), math.floor(high * data.crop))


def resized_picture(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 [H, W, 3] -> the picture with a short side of `side` pixels.

    Box filters halve it while it is at least twice as large, then bicubic, as in ADM (Dhariwal and Nichol 2021).
    """
    image = Image.fromarray(pixels)
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    if min(image.size) != side:
        scale = side / min(image.size)
        size = max(round(image.width * scale), side), max(round(image.height * scale), side)
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.array(image)
