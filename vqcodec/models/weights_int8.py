"""8-bit weights: each row of a matrix or filter bank as int8 values and one float32 scale.

The error is at most 1/254 of the largest weight of the row. Codebooks are never packed. Of a decoder only the stages
are packed, which hold nearly all weights: rows of its first and last layers mix channels of very different strength,
and one scale would round the small weights to 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

NETWORKS = ("encoder.", "decoder.")
"""Prefixes of the tensors of networks, among which int8 means a packed tensor."""
SCALE = ".row_scale"
"""Suffix of the tensor of scales, float32 [n], of a packed tensor [n, ...]."""
PARTS = {"encoder": ("encoder.",), "decoder": ("decoder.stages.", "decoder.blocks.", "decoder.coarse.")}
"""Part of a network, as named in recipes -> prefixes of its packed tensors."""
LARGEST = 1e30
"""Scales at or above this bound are refused."""


def pack(tensors: Mapping[str, np.ndarray], parts: Collection[str] = ("encoder",)) -> dict[str, np.ndarray]:
    """Copy of `tensors` in which those of `parts` (keys of PARTS) with at least two dimensions are packed."""
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
    """Inverse of `pack`; packed tensors become float32.

    Raises ValueError for scales without a packed tensor or out of range, and for int8 tensors without scales.
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
            raise ValueError(f"'{name}' holds a scale that is not above 0 and below {LARGEST:g}")
        shape = (-1, *(1,) * (packed.ndim - 1))
        found[name.removesuffix(SCALE)] = packed.astype(np.float32) * scale.astype(np.float32).reshape(shape)
    return found
