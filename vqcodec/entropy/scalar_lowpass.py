"""Low-pass pictures between wavelet levels, from coded values, in integers: what the bands of the next level refine.

The picture at the grid of a level's bands is the inverse wavelet (transforms/lifting_arrays.py) of all coarser levels.
It is an input of the context network, so every machine must compute the same: values are in 1/8 quantization steps, the
weights of the lifting steps in 1/1024, each sum is rounded. The functions take arrays of numpy and tensors of torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..transforms.lifting_steps import SCALE, STEPS

FRACTION = 3
"""Binary digits of a low-pass value after the point, in quantization steps."""
LIMIT = 2**17
"""Values are clamped to -LIMIT..LIMIT before each pass. A pass makes them less than 12 times as large, so that all
products fit into 32 bits."""
PRECISION = 10
"""Binary digits of the weights after the point."""
STRIP = 2**16
"""Values computed together."""
LEVEL_1 = 3 / 4
"""Gain of level 1 divided by that of coarser levels (config/quantizers.py)."""


def add_level(low: Any, details: tuple[Any, Any, Any], level: int) -> Any:
    """Low-pass picture int32 [..., H, W] of `low` and the bands h, v, d of a level, 1/8 steps.

    Args:
        low: int32 [..., h, w], the low-pass picture at the grid of `level`, 1/8 steps.
        details: values int32 of the bands, whole steps.
        level: level of the bands, 0 the finest.
    """
    h, v, d = (band << FRACTION for band in details)
    low = _times(low, LEVEL_1) if level == 1 else low
    left, right = _merged(low, v, -2), _merged(h, d, -2)
    return _merged(left, right, -1)


def in_steps(lowpass: Any) -> Any:
    """Low-pass values in 1/8 steps -> whole steps, rounded."""
    return (lowpass + 2 ** (FRACTION - 1)) >> FRACTION


def _merged(even: Any, odd: Any, axis: int) -> Any:
    """Inverse of one level along an axis, -1 or -2: the low band becomes the even, the high band the odd positions."""
    shape = list(even.shape)
    shape[axis] += odd.shape[axis]
    whole = np.empty(shape, np.int32) if isinstance(even, np.ndarray) else even.new_empty(shape)
    even, odd, found = (part.swapaxes(axis, -1) for part in (even, odd, whole))
    # Strips, whose intermediate results fit into the cache.
    rows = max(1, STRIP // max(1, shape[axis]))
    for start in range(0, found.shape[-2], rows):
        some = (..., slice(start, start + rows), slice(None))
        found[(*some[:-1], slice(0, None, 2))], found[(*some[:-1], slice(1, None, 2))] = _inverse(even[some], odd[some])
    return whole


def _inverse(even: Any, odd: Any) -> tuple[Any, Any]:
    """Inverse of one level along the last axis, low and high band -> even and odd positions.

    Twin of `_backward` in transforms/lifting_arrays.py. Even and odd positions are apart: contiguous arrays are faster.
    """
    even, odd = even.clip(-LIMIT, LIMIT), odd.clip(-LIMIT, LIMIT)
    if odd.shape[-1]:
        even, odd = _times(even, 1 / SCALE), _times(odd, SCALE)
        for i in reversed(range(len(STEPS))):
            if i % 2:
                _add_to_even(even, odd, -STEPS[i])
            else:
                _add_to_odd(odd, even, -STEPS[i])
    return even, odd


def _times(x: Any, weight: float) -> Any:
    """x * weight, rounded."""
    found = x * round(weight * 2**PRECISION)
    found += 2 ** (PRECISION - 1)
    found >>= PRECISION
    return found


def _add_to_odd(odd: Any, even: Any, weight: float) -> None:
    """Add `weight` times the sum of the even neighbours; beyond the border mirrored."""
    n = even.shape[-1]
    odd[..., : n - 1] += _times(even[..., : n - 1] + even[..., 1:], weight)
    if odd.shape[-1] == n:
        odd[..., -1] += _times(2 * even[..., -1], weight)


def _add_to_even(even: Any, odd: Any, weight: float) -> None:
    """Add `weight` times the sum of the odd neighbours; beyond the border mirrored."""
    n = odd.shape[-1]
    even[..., 0] += _times(2 * odd[..., 0], weight)
    even[..., 1:n] += _times(odd[..., : n - 1] + odd[..., 1:], weight)
    if even.shape[-1] > n:
        even[..., -1] += _times(2 * odd[..., -1], weight)
