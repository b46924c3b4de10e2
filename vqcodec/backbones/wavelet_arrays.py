"""The transform of wavelet.py in numpy, for files without torch: pixels to latent and back, without the network.

Channels of the latent, for a stride of S = 2**levels:

    0..2      low band at stride S, luma and two chroma channels
    then      for levels from the coarsest to the finest: luma, chroma 1, chroma 2; each of the three bands `h` (high
              along rows), `v` (high along columns), `d` (both); each with its P x P positions in a block, row by row
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from ..config.quantizers import GAINS
from ..transforms.lifting_arrays import Details, merge, merge_adjoint, split

PIXEL_STEP = 2.0
"""Quantization step divided by the size of an error in pixels in -1..1, about."""
HALF_RANGE = 127.5
"""8-bit levels per unit of pixels in -1..1."""
FOLD = 4
"""Stride of the decoder network, px."""
MEAN_RADIUS = 2
"""Radius in blocks of FOLD x FOLD px of the local mean that the decoder network's input refers to."""
CONTRAST = 4.0
"""Factor of that input, in units of the size of an error: errors are of the order of 1."""
CONTRAST_LIMIT = 16.0
"""Bound of that input."""
_COLOURS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
"""Rows of the colour transform before normalisation: luma, red against blue, green against both."""


def colour_transform() -> np.ndarray:
    """Orthonormal matrix float32 [3, 3]: RGB -> luma and two chroma channels."""
    rows = np.array(_COLOURS, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@cache
def channel_order(levels: int) -> np.ndarray:
    """Indices int64 [3 * 4**levels] of the latent's channels among those of `pixel_unshuffle`.

    The latter are colour by colour, row by row.
    """
    side = 2**levels
    found = [colour * side * side for colour in range(3)]
    for level in reversed(range(levels)):
        step = 2**level
        for colour in range(3):
            for y0, x0 in ((0, step), (step, 0), (step, step)):
                rows, columns = range(y0, side, 2 * step), range(x0, side, 2 * step)
                found += [(colour * side + y) * side + x for y in rows for x in columns]
    return np.array(found)


@cache
def channel_gains(levels: int) -> np.ndarray:
    """GAINS of the latent's channels, float32 [3 * 4**levels, 1, 1]."""
    counts = [3, *(9 * 4 ** (levels - 1 - level) for level in reversed(range(levels)))]
    of_level = [GAINS[-1], *(GAINS[min(level, len(GAINS) - 1)] for level in reversed(range(levels)))]
    return np.repeat(np.array(of_level, np.float32), counts)[:, None, None]


def levels_of(channels: int) -> int:
    """Wavelet levels of a latent of 3 * 4**levels channels."""
    return round(math.log2(channels / 3) / 2)


def halo_of(levels: int, depth: int) -> int:
    """Halo, px: reach of the wavelet, 4 positions a level to each side, and of a network of `depth` blocks.

    Whole strides; 0 blocks: no network.
    """
    wavelet = sum(4 * 2**level for level in range(levels))
    network = (2 * depth + 2 + MEAN_RADIUS) * FOLD if depth else 0
    stride = 2**levels
    return -(-(wavelet + network) // stride) * stride


def pixels_to_latent(pixels: np.ndarray, levels: int) -> np.ndarray:
    """Pixels uint8 [H, W, 3], sides multiples of S -> latent float32 [D, H / S, W / S]."""
    h, w = pixels.shape[:2]
    planar = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(3, -1).astype(np.float32)
    planar = (planar - np.float32(HALF_RANGE)) / np.float32(HALF_RANGE)
    z = _channels((colour_transform() @ planar).reshape(3, h, w), levels, split)
    z *= channel_gains(levels)
    return z


def latent_to_picture(z: np.ndarray) -> np.ndarray:
    """Latent float32 [D, h, w] -> pixels float32 [3, S h, S w], about -1..1. Inverse of `pixels_to_latent`."""
    levels = levels_of(len(z))
    gains = channel_gains(levels)
    h, w = z.shape[1:]
    y = z[:3] / gains[:3]
    start = 3
    for level in reversed(range(levels)):
        side = 2 ** (levels - 1 - level)
        some = slice(start, start + 9 * side**2)
        bands = (z[some] / gains[some]).reshape(3, 3, side, side, h, w).transpose(1, 0, 4, 2, 5, 3)
        of_level = np.ascontiguousarray(bands).reshape(3, 3, h * side, w * side)
        y = merge(y, (of_level[0], of_level[1], of_level[2]))
        start = some.stop
    found: np.ndarray = (colour_transform().T @ y.reshape(3, -1)).reshape(y.shape)
    return found


def gradient_to_latent(gradient: np.ndarray, levels: int) -> np.ndarray:
    """Gradient float32 [3, H, W] in the result of `latent_to_picture` -> that in its latent, [D, h, w]."""
    h, w = gradient.shape[1:]
    z = _channels((colour_transform() @ gradient.reshape(3, -1)).reshape(3, h, w), levels, merge_adjoint)
    z /= channel_gains(levels)
    return z


def _channels(y: np.ndarray, levels: int, split: Callable[[np.ndarray], tuple[np.ndarray, Details]]) -> np.ndarray:
    """Colours [3, H, W] -> channels [D, h, w] in their order, level by level by `split`."""
    h, w = y.shape[1] // 2**levels, y.shape[2] // 2**levels
    z = np.empty((3 * 4**levels, h, w), np.float32)
    end = len(z)
    for level in range(levels):
        side = 2 ** (levels - 1 - level)
        y, details = split(y)
        blocks = z[end - 9 * side**2 : end].reshape(3, 3, side, side, h, w)
        for i, band in enumerate(details):
            blocks[:, i] = band.reshape(3, h, side, w, side).transpose(0, 2, 4, 1, 3)
        end -= 9 * side**2
    z[:end] = y
    return z
