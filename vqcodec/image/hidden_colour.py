"""Colour of transparent pixels, replaced by a smooth continuation of the visible ones.

The original colour of transparent pixels is invisible, but it would cost bytes and affect visible pixels near the edge
through the networks. The fill is a push-pull pyramid (Gortler et al. 1996, "The Lumigraph", section 3.3) with a few
steps of diffusion at each level, computed channel by channel in small integers: 6 bytes per pixel of extra memory.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .picture import Picture

Plane = NDArray[np.uint8]
FAINT = 1
"""Largest alpha of pixels that are replaced: the error in a composite is at most one level of 255."""
DIFFUSION = 6
"""Steps of diffusion at each level: enough to remove the block pattern of the pyramid."""


def with_hidden_filled(picture: Picture) -> Picture:
    """The picture with pixels of alpha 0..FAINT replaced by a function of the others; alpha is unchanged."""
    alpha = picture.alpha
    if alpha is None or alpha.min() > FAINT:
        return picture
    if alpha.max() <= FAINT:
        return replace(picture, pixels=np.zeros_like(picture.pixels))
    weights = [np.where(alpha > FAINT, alpha, 0).astype(np.uint8)]
    while weights[-1].min() == 0:
        weights.append(_half_weights(weights[-1]))
    pixels = np.empty_like(picture.pixels)
    for channel in range(1 if picture.grey else 3):
        pixels[..., channel] = _filled(picture.pixels[..., channel], weights)
    if picture.grey:
        pixels[..., 1:] = pixels[..., :1]
    return replace(picture, pixels=pixels)


def _filled(plane: Plane, weights: list[Plane]) -> Plane:
    """`plane` [H, W] with values filled where weights[0] is 0; weights[i] belong to level i of the pyramid."""
    levels = [np.ascontiguousarray(plane)]
    for weight in weights[:-1]:
        levels.append(_half(levels[-1], weight))
    found = levels.pop()
    for level, weight in zip(reversed(levels), reversed(weights[:-1]), strict=True):
        hidden = weight == 0
        found = np.where(hidden, _doubled(found, level.shape), level)
        for _ in range(DIFFUSION):
            found = np.where(hidden, _mean_of_neighbours(found), found)
    return found


def _quarters(plane: NDArray[np.uint16], total: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Sums over blocks of 2 x 2, added to `total`."""
    for y in (0, 1):
        for x in (0, 1):
            part = plane[y::2, x::2]
            total[: part.shape[0], : part.shape[1]] += part
    return total


def _half_weights(weight: Plane) -> Plane:
    """Mean weight of blocks of 2 x 2, rounded up: 0 only where all four are 0."""
    total = np.zeros(tuple((side + 1) // 2 for side in weight.shape), np.uint32)
    return ((_quarters(weight.astype(np.uint16), total) + 3) // 4).astype(np.uint8)


def _half(plane: Plane, weight: Plane) -> Plane:
    """Weighted mean of blocks of 2 x 2; 0 where all weights are 0."""
    shape = tuple((side + 1) // 2 for side in plane.shape)
    total = _quarters(weight.astype(np.uint16), np.zeros(shape, np.uint32))
    found = _quarters(plane.astype(np.uint16) * weight, np.zeros(shape, np.uint32))
    found += total // 2
    found //= np.maximum(total, 1)
    return found.astype(np.uint8)


def _doubled(plane: Plane, shape: tuple[int, ...]) -> Plane:
    """`plane` enlarged twice by bilinear interpolation, cropped to `shape`."""
    for axis in (0, 1):
        plane = np.moveaxis(plane, axis, 0)
        before, after = np.concatenate([plane[:1], plane[:-1]]), np.concatenate([plane[1:], plane[-1:]])
        near = plane.astype(np.uint16) * 3 + 2
        out = np.empty((2 * plane.shape[0], plane.shape[1]), np.uint8)
        out[0::2], out[1::2] = (near + before) // 4, (near + after) // 4
        plane = np.moveaxis(out[: shape[axis]], 0, axis)
    return np.ascontiguousarray(plane)


def _mean_of_neighbours(plane: Plane) -> Plane:
    wide = np.pad(plane, 1, mode="edge").astype(np.uint16)
    total = wide[:-2, 1:-1] + wide[2:, 1:-1]
    total += wide[1:-1, :-2]
    total += wide[1:-1, 2:]
    total += 2
    total //= 4
    return total.astype(np.uint8)
