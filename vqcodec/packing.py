"""Weights of a network in 8 bits: each row of a matrix or filter bank as int8 and one scale.

For encoders, which only make tokens: what tokens mean and how they look is with the codebooks and the decoder, and
these are never packed. The error is at most 1/254 of a row's largest weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SCALE = ".row_scale"
"""Added to the name of a packed tensor [n, ...], for its scales float32 [n]."""
PACKED = "encoder."
"""What names of packed tensors start with."""
LARGEST = 1e30
"""No scale is as large as this."""


def pack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`tensors` with those of an encoder that have two dimensions or more packed."""
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if not name.startswith(PACKED) or value.ndim < 2:
            found[name] = value
            continue
        rows = value.astype(np.float32).reshape(len(value), -1)
        scale = np.maximum(abs(rows).max(1), 1e-30) / 127
        found[name] = np.round(rows / scale[:, None]).astype(np.int8).reshape(value.shape)
        found[name + SCALE] = scale.astype(np.float32)
    return found


def unpack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `pack`, as float32.

    Raises ValueError for scales that fit no tensor or are no scales, and for an encoder's int8 without any.
    """
    found = {name: value for name, value in tensors.items() if not name.endswith(SCALE)}
    for name, value in found.items():
        if name.startswith(PACKED) and value.dtype == np.int8 and name + SCALE not in tensors:
            raise ValueError(f"'{name}' is packed, but has no scales")
    for name, scale in tensors.items():
        if not name.endswith(SCALE):
            continue
        packed = tensors.get(name.removesuffix(SCALE))
        fits = packed is not None and packed.dtype == np.int8 and scale.shape == packed.shape[:1]
        if packed is None or not fits or scale.dtype != np.float32 or not name.startswith(PACKED):
            raise ValueError(f"'{name}' is not the scale of a packed tensor")
        if not ((scale > 0) & (scale < LARGEST)).all():
            raise ValueError(f"'{name}' holds what is no scale")
        shape = (-1, *(1,) * (packed.ndim - 1))
        found[name.removesuffix(SCALE)] = packed.astype(np.float32) * scale.astype(np.float32).reshape(shape)
    return found
