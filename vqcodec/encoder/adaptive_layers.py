"""Which layers of a picture a file leaves out, block by block: content-adaptive keep.

Greedy by distortion per bit, as bit planes in image coders are cut: each block of the token grid keeps as many layers
as make distortion + rate * bits least, the map's own bits among them. The nested masking of training (MGVQ section 3)
is what lets the decoder show such a picture. Encoder side only; entropy/layer_map.py is what files hold of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..entropy.layer_map import BLOCK, MOST, map_bits
from ..planes import Layers, Planes
from .codeword_distances import CodewordDistances

ROUNDS = 4
"""Of choosing and counting again what each entry of the map costs."""
LEAST = 0.006
"""Share of the whole cost that a map has to save."""


def maps_of(costs: Sequence[np.ndarray], rate: float) -> list[np.ndarray] | None:
    """The map int32 [rows, columns] of each tile, given its `costs_of`; None if keeping everything is as good."""
    n_layers = len(costs[0]) - 1
    found = [cost.argmin(0) for cost in costs]
    for _ in range(ROUNDS):
        counts = np.bincount(np.concatenate([kept.ravel() for kept in found]), minlength=n_layers + 1) + 0.1
        entry = -rate * np.log2(counts / counts.sum())[:, None, None]
        found = [(cost + entry).argmin(0) for cost in costs]
    maps = [np.where(kept == n_layers, MOST, kept).astype(np.int32) for kept in found]
    kept_costs = (np.take_along_axis(cost, kept[None], 0).sum() for cost, kept in zip(costs, found, strict=True))
    spent = float(sum(kept_costs)) + rate * sum(map(map_bits, maps))
    everything = float(sum(cost[-1].sum() for cost in costs))
    return maps if spent < (1 - LEAST) * everything else None


def costs_of(
    codewords: CodewordDistances,
    latent: np.ndarray,
    fill: np.ndarray,
    planes: Planes,
    spent: Sequence[np.ndarray],
    layers: Layers,
    prices: np.ndarray,
    rates: np.ndarray,
) -> np.ndarray:
    """What each block of a tile costs, in bits at rate 1, with its first 0, 1, ... layers: [layers + 1, rows, columns].

    `latent` [D, h, w] is what is to be coded, `fill` [D] what the decoder has in place of groups that are left out;
    `planes` are the codes, `spent` their bits, `prices` [D] of channels, `rates` [S] what a bit of each plane counts.
    """
    shown = np.broadcast_to(fill[:, None, None], latent.shape).copy()
    found = [_by_block(_error(latent, shown, prices))]
    bits = np.zeros(latent.shape[1:])
    for layer in layers:
        for s in layer:
            span, code = codewords.spans[s], np.moveaxis(codewords.codebooks[s][planes[s]], -1, 0)
            shown[span] = shown[span] + code if codewords.below[s] else code
            bits += rates[s] * spent[s]
        found.append(_by_block(_error(latent, shown, prices) + bits))
    return np.stack(found)


def _error(latent: np.ndarray, shown: np.ndarray, prices: np.ndarray) -> np.ndarray:
    error: np.ndarray = np.einsum("dhw,d->hw", np.square(latent - shown, dtype=np.float64), 1 / prices)
    return error


def _by_block(values: np.ndarray) -> np.ndarray:
    """[h, w] -> sums over blocks [rows, columns]."""
    rows, columns = (np.arange(0, length, BLOCK) for length in values.shape)
    return np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1)
