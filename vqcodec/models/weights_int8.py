"""Weights of a network in 8 bits: each row of a matrix or filter bank as int8 and one scale.

The error is at most 1/254 of a row's largest weight. Codebooks are never packed, and of a decoder only its stages,
which are nearly all of it: in layers that see the latent or make pixels the weights of strong channels would round away
those of weak ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

NETWORKS = ("encoder.", "decoder.")
"""What names of weights start with, of which any in int8 are packed ones."""
SCALE = ".row_scale"
"""Added to the name of a packed tensor [n, ...], for its scales float32 [n]."""
PARTS = {"encoder": ("encoder.",), "decoder": ("decoder.stages.", "decoder.blocks.", "decoder.coarse.")}
"""What names of packed tensors start with, by what recipes name."""
LARGEST = 1e30
"""No scale is as large as this."""


def pack(tensors: Mapping[str, np.ndarray], parts: Collection[str] = ("encoder",)) -> dict[str, np.ndarray]:
    """`tensors` with those of `parts` (keys of PARTS) that have two dimensions or more packed."""
    prefixes = tuple(prefix for part in parts for prefix in PARTS[part])
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if not name.startswith(prefixes) or value.ndim < 2:
            found[name] = value
            continue
        rows = value.astype(np.float32).reshape(len(value), -1)
        scale = np.maximum(abs(rows).max(1), 1e-30) / 127
        found[name] = np.round(rows / scale[:, None]).astype(np.int8).reshape(value.shape)
        found[name + SCALE] = scale.astype(np.float32)
    return found


def unpack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `pack`, as float32.

    Raises ValueError for scales that fit no tensor or are no scales, and for int8 of a network without any.
    """
    prefixes = tuple(prefix for part in PARTS.values() for prefix in part)
    found = {name: value for name, value in tensors.items() if not name.endswith(SCALE)}
    for name, value in found.items():
        if name.startswith(NETWORKS) and value.dtype == np.int8 and name + SCALE not in tensors:
            raise ValueError(f"'{name}' is packed, but has no scales")
    for name, scale in tensors.items():
        if not name.endswith(SCALE):
            continue
        packed = tensors.get(name.removesuffix(SCALE))
        fits = packed is not None and packed.dtype == np.int8 and scale.shape == packed.shape[:1]
        if packed is None or not fits or scale.dtype != np.float32 or not name.startswith(prefixes):
            raise ValueError(f"'{name}' is not the scale of a packed tensor")
        if not ((scale > 0) & (scale < LARGEST)).all():
            raise ValueError(f"'{name}' holds what is no scale")
        shape = (-1, *(1,) * (packed.ndim - 1))
        found[name.removesuffix(SCALE)] = packed.astype(np.float32) * scale.astype(np.float32).reshape(shape)
    return found
