"""The 9/7 wavelet of lifting.py in numpy, for files without torch. Twin of that module, in place and line by line."""

from __future__ import annotations

import numpy as np

from ..config.quantizers import LOW_LEVELS
from .lifting_steps import SCALE, STEPS


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


def unlift_adjoint(gradient: np.ndarray, levels: int = LOW_LEVELS) -> np.ndarray:
    """Gradient in the output of `unlift`, float32 [C, h, w] -> that in its input, in place."""
    for level in range(levels):
        step = 1 << level
        part = np.ascontiguousarray(gradient[:, ::step, ::step])
        _backward_adjoint(part)
        _backward_adjoint(part.transpose(0, 2, 1))
        gradient[:, ::step, ::step] = part
    return gradient


def _forward(x: np.ndarray) -> None:
    """One level along the last axis, in place: even positions become the low, odd ones the high band."""
    if x.shape[-1] < 2:
        return
    even, odd = x[..., 0::2], x[..., 1::2]
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
    even, odd = x[..., 0::2], x[..., 1::2]
    even *= np.float32(1 / SCALE)
    odd *= np.float32(SCALE)
    for i, weight in reversed(list(enumerate(STEPS))):
        if i % 2:
            _add_to_even(even, odd, -weight)
        else:
            _add_to_odd(odd, even, -weight)


def _backward_adjoint(x: np.ndarray) -> None:
    """Adjoint of `_backward`: its steps in reverse, each transposed."""
    if x.shape[-1] < 2:
        return
    even, odd = x[..., 0::2], x[..., 1::2]
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
