"""Copies of pictures with other brightness, contrast and colours, for the training of entropy models.

Context models learn each index by itself. Without such copies they have seen few of the values that smooth areas can
have, and every other value takes many bits.
"""

from __future__ import annotations

import numpy as np

GAMMA, GAIN_LOW, GAIN_HIGH, CHANNEL = 0.8, 0.6, 0.5, 0.25
"""Largest changes, in powers of two: exponent of the levels, gain down and up, gain of a channel."""
SATURATION = (0.3, 1.6)
"""Range of the factor of the differences from grey."""
SATURATED, INVERTED, MIRRORED, FLIPPED, TRANSPOSED = 0.5, 0.15, 0.5, 0.3, 0.3
"""Shares of the copies with each change."""


def changed_colours(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of pixels uint8 [H, W, 3] with random changes, uint8 [H, W, 3] or [W, H, 3]."""
    x = (pixels.astype(np.float32) / 255) ** np.float32(2 ** rng.uniform(-GAMMA, GAMMA))
    gain = 2 ** rng.uniform(-GAIN_LOW, GAIN_HIGH) * 2 ** rng.uniform(-CHANNEL, CHANNEL, 3)
    x = x * gain.astype(np.float32)
    if rng.random() < SATURATED:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * np.float32(rng.uniform(*SATURATION))
    if rng.random() < INVERTED:
        x = 1 - x
    if rng.random() < MIRRORED:
        x = x[:, ::-1]
    if rng.random() < FLIPPED:
        x = x[::-1]
    if rng.random() < TRANSPOSED:
        x = x.transpose(1, 0, 2)
    return np.ascontiguousarray((x.clip(0, 1) * 255 + 0.5).astype(np.uint8))
