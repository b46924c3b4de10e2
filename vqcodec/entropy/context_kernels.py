"""Kernels of the context network of one plane: inputs int8 -> rows of integer frequencies, equal for every kernel.

`ExactKernel` is numpy. Others (compiled_kernels.py) are used only where their frequencies on fixed inputs are equal to
its own. All sums are integers below 2**24, exact in int32 and in float32. The network is described in context_model.py.

Legend: N positions, I inputs, H hidden units, K symbols, R grids, p pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

LOOKUP = 256
"""Entries of the table from logit differences, in 1/16 bit, to frequencies."""


@dataclass(frozen=True)
class PlaneNet:
    """Network of one plane, as float32 arrays that hold integers."""

    embedding: np.ndarray
    """[K + 2, 8]; row K is that of a symbol not yet coded, row K + 1 that of a position outside the tile."""
    around: np.ndarray
    """W1 of inputs from earlier planes, [8 * inputs, H]."""
    own: np.ndarray
    """W1 of inputs from the plane itself, [1 or R, 24 * 8, H]: for all R grids, or for each, finest first."""
    bias1: np.ndarray
    """b1 [3 R + 1, H], one row for each pass."""
    scale1: np.ndarray
    """s1 [H]; all scales are powers of two."""
    hidden: np.ndarray
    """W2 [H, H]."""
    bias2: np.ndarray
    """b2 [H]."""
    scale2: np.ndarray
    """s2 [H]."""
    out: np.ndarray
    """W3 [H, K]."""
    bias3: np.ndarray
    """b3 [3 R + 1, K], one row for each pass."""
    scale3: np.ndarray
    """s3 [K]."""


class Kernel(Protocol):
    """Frequencies of one plane in one or all grids."""

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p, earlier planes first -> frequencies float32 [N, K], a new array."""


class ExactKernel:
    """numpy, float32; the reference of the other kernels.

    Scales are multiplied into the weights: products with a power of two stay exact. It serves the passes of the
    grids of `own`, one of `net.own`.
    """

    def __init__(self, net: PlaneNet, lut: np.ndarray, own: np.ndarray) -> None:
        self.pairs = pairs_of(lut)
        self.first, self.bias1 = np.concatenate([net.around, own]) * net.scale1, net.bias1 * net.scale1
        self.hidden, self.bias2 = net.hidden * net.scale2, net.bias2 * net.scale2
        self.out, self.bias3 = net.out * net.scale3, net.bias3 * net.scale3

    def rows(self, x: np.ndarray, p: int) -> np.ndarray:
        """Inputs x int8 [N, I] of pass p -> frequencies float32 [N, K]."""
        h1 = x.astype(self.first.dtype) @ self.first
        h1 += self.bias1[p]
        np.floor(h1, out=h1).clip(0, 127, out=h1)
        h2 = h1 @ self.hidden
        h2 += self.bias2
        np.floor(h2, out=h2)
        h2 += h1
        h2.clip(0, 127, out=h2)
        logits = h2 @ self.out
        logits += self.bias3[p]
        np.floor(logits, out=logits)
        np.subtract(logits.max(-1, keepdims=True), logits, out=logits)
        return looked_up(self.pairs, np.minimum(logits, LOOKUP - 1, out=logits).astype(np.uint8))


def pairs_of(lut: np.ndarray) -> np.ndarray:
    """Table that looks up two entries at once: uint64 [2**16], two float32 each; a uint16 index holds two uint8."""
    both = np.arange(2**16, dtype=np.uint16).view(np.uint8)
    return lut.astype(np.float32)[both].view(np.uint64)


def looked_up(pairs: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Logit differences uint8 [N, K] -> frequencies float32 [N, K]."""
    if below.shape[1] % 2:
        wide = np.concatenate([below, np.zeros_like(below[:, :1])], 1)
        return looked_up(pairs, wide)[:, :-1]
    return pairs.take(below.view(np.uint16)).view(np.float32)
