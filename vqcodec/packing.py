"""Weights of a network in 8 bits: each row of a matrix or filter bank as int8 and one scale.

For encoders, which only make tokens: what tokens mean and how they look is with the codebooks and the decoder, and
these are never packed. The error is at most 1/254 of a row's largest weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SCALE = ".row_scale"
"""Added to the name of a packed tensor [n, ...], for its scales float32 [n]."""


def pack(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """`tensors` with those of two dimensions or more whose names start with `prefix` packed."""
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if not name.startswith(prefix) or value.ndim < 2:
            found[name] = value
            continue
        rows = value.astype(np.float32).reshape(len(value), -1)
        scale = np.maximum(abs(rows).max(1), 1e-30) / 127
        found[name] = np.round(rows / scale[:, None]).astype(np.int8).reshape(value.shape)
        found[name + SCALE] = scale.astype(np.float32)
    return found


def unpack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `pack`, as float32. Raises ValueError for scales that fit no tensor."""
    found = {name: value for name, value in tensors.items() if not name.endswith(SCALE)}
    for name, scale in tensors.items():
        if not name.endswith(SCALE):
            continue
        packed = tensors.get(name.removesuffix(SCALE))
        if packed is None or packed.dtype != np.int8 or scale.shape != packed.shape[:1]:
            raise ValueError(f"'{name}' is not the scale of a packed tensor")
        shape = (-1, *(1,) * (packed.ndim - 1))
        found[name.removesuffix(SCALE)] = packed.astype(np.float32) * scale.astype(np.float32).reshape(shape)
    return found
