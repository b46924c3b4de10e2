"""Crops of training pictures as the encoder of a finished model codes them, for networks trained on real values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vqcodec.config.quantizers import LARGEST
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.scalar_encoder import ScalarEncoder
from vqcodec.image.picture import Picture
from vqcodec.transforms.steps import step_size

from ..data.pictures import Member, Pictures
from .recipe import EncodedRecipe, RateRecipe

SHRUNK, MOST_SHRUNK = 1 / 3, 2.0
"""Share of pictures that are scaled down before they are cut, and the largest factor."""


@dataclass(frozen=True)
class EncodedCrop:
    """Values that the encoder selected for a crop."""

    values: np.ndarray
    """int32 [D, h, w], in quantization steps."""
    step: int
    """Number of the step."""
    bits: int
    """Bits of its segments."""
    pixels: int
    """Pixels of the crop."""


def encoded_crops(
    pictures: Pictures, recipe: EncodedRecipe, rate: RateRecipe, seed: int, damaged: dict[str, str]
) -> Iterator[EncodedCrop]:
    """Crops of `recipe.megapixels` in all, each of a picture, a place and a step number drawn from `seed`.

    The encoder runs on the CPU. A picture that cannot be decoded is added to `damaged` and left out. Raises ModelError
    if the model is not installed.
    """
    rng = random.Random(seed)
    members = list(pictures.members)
    pixels = 0
    while members and pixels < 1e6 * recipe.megapixels:
        member = rng.choice(members)
        try:
            crop = _crop(member, recipe.side, rng)
        except Exception as error:  # Pillow raises many kinds for damaged data
            damaged[member.name] = str(error)
            members.remove(member)
            continue
        encoder = encoder_for(Picture(crop), recipe.model, effort=recipe.effort)
        assert isinstance(encoder, ScalarEncoder)
        tokens, segments = encoder.select(step_size(rng.randint(*rate.steps)) ** 2, len(encoder.model.layers))
        assert tokens.step is not None
        bits = 8 * sum(len(segment) for tile in segments for segment in tile)
        pixels += crop.shape[0] * crop.shape[1]
        yield EncodedCrop(np.stack(tokens.planes) - LARGEST, tokens.step, bits, crop.shape[0] * crop.shape[1])


def _crop(member: Member, side: int, rng: random.Random) -> np.ndarray:
    """A crop uint8 [H, W, 3] of at most `side` pixels a side, mirrored in half of the cases, some scaled down."""
    pixels = member.decode()
    if rng.random() < SHRUNK:
        factor = rng.uniform(1, MOST_SHRUNK)
        size = tuple(max(1, round(length / factor)) for length in (pixels.shape[1], pixels.shape[0]))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    y, x = (rng.randint(0, max(0, length - side)) for length in pixels.shape[:2])
    crop = pixels[y : y + side, x : x + side]
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
