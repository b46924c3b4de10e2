"""The 9/7 wavelet of lifting.py in numpy, for files without torch. Twin of that module.

`lift` and `unlift` work in place; `split` and `merge` have the bands apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ..config.quantizers import LOW_LEVELS
from .lifting_steps import SCALE, STEPS

Details: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The bands h, v and d of a level, float32 [C, h, w] each."""


def lift(z: np.ndarray, levels: int = LOW_LEVELS) -> np.ndarray:
    """z float32 [C, h, w] -> coefficients of the same shape, in place; levels stop where the grid is too small."""
    for level in range(levels):
        step = 1 << level
        part = np.ascontiguousarray(z[:, ::step, ::step])
        _forward(part)
        _forward(part.transpose(0, 2, 1))
        z[:, ::step, ::step] = part
    return z


def unlift(z: np.ndarray, levels: int = LOW_LEVELS) -> np.ndarray:
    """Inverse of `lift`, up to rounding, in place."""
    for level in reversed(range(levels)):
        step = 1 << level
        part = np.ascontiguousarray(z[:, ::step, ::step])
        _backward(part.transpose(0, 2, 1))
        _backward(part)
        z[:, ::step, ::step] = part
    return z


def merge(low: np.ndarray, details: Details) -> np.ndarray:
    """One level of `unlift` whose bands are apart: the low band and h, v, d, float32 [C, h, w] each -> [C, 2 h, 2 w].

    `low` and the details are overwritten. Faster than `unlift`: all arrays are contiguous.
    """
    h, v, d = details
    left, right = _interleaved(low, v, 1), _interleaved(h, d, 1)
    return _interleaved(left, right, 2)


def split(whole: np.ndarray) -> tuple[np.ndarray, Details]:
    """One level of `lift`, bands apart: float32 [C, 2 h, 2 w] -> the low band and h, v, d, [C, h, w] each."""
    return _split(whole, _do_steps)


def merge_adjoint(gradient: np.ndarray) -> tuple[np.ndarray, Details]:
    """Gradient in the result of `merge`, [C, 2 h, 2 w] -> that in the low band and in h, v, d, [C, h, w] each."""
    return _split(gradient, _undo_steps_adjoint)


def _split(whole: np.ndarray, steps: Callable[[np.ndarray, np.ndarray], None]) -> tuple[np.ndarray, Details]:
    left, right = _parted(whole, 2, steps)
    (low, v), (h, d) = _parted(left, 1, steps), _parted(right, 1, steps)
    return low, (h, v, d)


def _parted(
    whole: np.ndarray, axis: int, steps: Callable[[np.ndarray, np.ndarray], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Even and odd positions along axis 1 or 2, after `steps` of both."""
    lines = (whole[:, 0::2], whole[:, 1::2]) if axis == 1 else (whole[..., 0::2], whole[..., 1::2])
    even, odd = (np.ascontiguousarray(part) for part in lines)
    for low, high in zip(even, odd, strict=True):
        steps(low.T if axis == 1 else low, high.T if axis == 1 else high)
    return even, odd


def _interleaved(even: np.ndarray, odd: np.ndarray, axis: int) -> np.ndarray:
    """Inverse of a level along axis 1 or 2: low and high band [C, h, w], overwritten, -> even and odd positions."""
    shape = list(even.shape)
    shape[axis] *= 2
    found = np.empty(shape, np.float32)
    for whole, *bands in zip(found, even, odd, strict=True):  # one colour at a time takes a third of the memory
        whole, low, high = (lines.T if axis == 1 else lines for lines in (whole, *bands))
        _undo_steps(low, high)
        whole[:, 0::2], whole[:, 1::2] = low, high
    return found


def _forward(x: np.ndarray) -> None:
    """One level along the last axis, in place: even positions become the low, odd ones the high band."""
    if x.shape[-1] < 2:
        return
    _do_steps(x[..., 0::2], x[..., 1::2])


def _do_steps(even: np.ndarray, odd: np.ndarray) -> None:
    """Even and odd positions along the last axis -> low and high band, in place."""
    for i, weight in enumerate(STEPS):
        if i % 2:
            _add_to_even(even, odd, weight)
        else:
            _add_to_odd(odd, even, weight)
    even *= np.float32(SCALE)
    odd *= np.float32(1 / SCALE)


def _backward(x: np.ndarray) -> None:
    """Inverse of `_forward`."""
    if x.shape[-1] < 2:
        return
    _undo_steps(x[..., 0::2], x[..., 1::2])


def _undo_steps(even: np.ndarray, odd: np.ndarray) -> None:
    """Low and high band along the last axis -> even and odd positions, in place."""
    even *= np.float32(1 / SCALE)
    odd *= np.float32(SCALE)
    for i, weight in reversed(list(enumerate(STEPS))):
        if i % 2:
            _add_to_even(even, odd, -weight)
        else:
            _add_to_odd(odd, even, -weight)


def _undo_steps_adjoint(even: np.ndarray, odd: np.ndarray) -> None:
    """Adjoint of `_undo_steps`."""
    for i, weight in enumerate(STEPS):
        if i % 2:
            _add_from_even(even, odd, -weight)
        else:
            _add_from_odd(odd, even, -weight)
    even *= np.float32(1 / SCALE)
    odd *= np.float32(SCALE)


def _add_to_odd(odd: np.ndarray, even: np.ndarray, weight: float) -> None:
    """Add `weight` times the sum of the even neighbours; beyond the border mirrored."""
    n, w = even.shape[-1], np.float32(weight)
    odd[..., : n - 1] += w * (even[..., : n - 1] + even[..., 1:])
    if odd.shape[-1] == n:
        odd[..., -1] += 2 * w * even[..., -1]


def _add_to_even(even: np.ndarray, odd: np.ndarray, weight: float) -> None:
    """Add `weight` times the sum of the odd neighbours; beyond the border mirrored."""
    n, w = odd.shape[-1], np.float32(weight)
    even[..., 0] += 2 * w * odd[..., 0]
    even[..., 1:n] += w * (odd[..., : n - 1] + odd[..., 1:])
    if even.shape[-1] > n:
        even[..., -1] += 2 * w * odd[..., -1]


def _add_from_odd(odd: np.ndarray, even: np.ndarray, weight: float) -> None:
    """Adjoint of `_add_to_odd`: add to the even positions."""
    n, w = even.shape[-1], np.float32(weight)
    part = w * odd[..., : n - 1]
    even[..., : n - 1] += part
    even[..., 1:] += part
    if odd.shape[-1] == n:
        even[..., -1] += 2 * w * odd[..., -1]


def _add_from_even(even: np.ndarray, odd: np.ndarray, weight: float) -> None:
    """Adjoint of `_add_to_even`: add to the odd positions."""
    n, w = odd.shape[-1], np.float32(weight)
    odd[..., 0] += 2 * w * even[..., 0]
    part = w * even[..., 1:n]
    odd[..., : n - 1] += part
    odd[..., 1:] += part
    if even.shape[-1] > n:
        odd[..., -1] += 2 * w * even[..., -1]
