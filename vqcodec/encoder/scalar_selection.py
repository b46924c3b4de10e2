"""Rate-distortion selection of scalar values under the context network, position by position.

Each value is the candidate of least (target - value)^2 + weight * bits: the nearest integer, the next one towards 0, or
the one towards the prediction. Bits are those of the residual tables at the location and scale that the values before
it give (greedy; the effect on later contexts is not counted). Encoder only: floating point may round as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config.quantizers import LARGEST
from ..entropy.coder import TileEncoder
from ..entropy.pyramid import Pass
from ..entropy.scalar_context import ScalarContextAt, mirrored
from ..entropy.scalar_network import Known

WEIGHT = 0.1155
"""Squared error in steps that a bit is worth at high rate: ln(4) / 12."""


def select_tile(
    model: ScalarContextAt, targets: np.ndarray, weight: float, layers: Sequence[int], coder: TileEncoder | None = None
) -> np.ndarray:
    """Targets float32 [D, h, w] in units of the step -> values int32 [D, h, w], 0 beyond `layers`.

    `weight` multiplies WEIGHT. With a `coder` the values are coded in the same pass.
    """
    n_channels, h, w = targets.shape
    flat = targets.reshape(n_channels, -1)
    values = np.zeros(flat.shape, np.int32)
    known = Known(model.model.widths, (h, w))
    price = np.float32(weight * WEIGHT)
    for k in layers:
        net = model.model.nets[k]
        own = slice(net.start, net.start + net.width)
        if np.abs(flat[own]).max() < 0.5 and k >= 2:  # all round to 0, which costs least
            chosen, predicted = values[own], None
        else:
            wanted = flat[own]

            def visit(part: Pass, location: np.ndarray, scale: np.ndarray, wanted: np.ndarray = wanted) -> np.ndarray:
                return _cheapest(model, wanted[:, part.positions], location, scale, price)

            chosen, predicted = model.select(k, known, visit)
        if coder is None:
            known.values[own] = chosen
            known.end_layer(k)
        else:
            model.code_layer(coder, k, known, chosen, predicted)
            coder.end_layer()
        values[own] = chosen
    return values.reshape(n_channels, h, w)


def _cheapest(
    model: ScalarContextAt, target: np.ndarray, location: np.ndarray, scale: np.ndarray, price: np.float32
) -> np.ndarray:
    """Values int32 [n, N] of least cost among the candidates."""
    nearest = np.round(target)
    best = np.zeros(target.shape, np.int32)
    least = np.full(target.shape, np.inf, np.float32)
    rounded = (location + 4) >> 3
    for candidate in (nearest, nearest - np.sign(nearest), nearest - np.sign(nearest - rounded)):
        value = candidate.clip(-LARGEST, LARGEST).astype(np.int32)
        row, residual = mirrored(location, scale, value)
        cost = np.square(target - value) + price * model.model.tables.bits_of(row, residual)
        better = cost < least
        best, least = np.where(better, value, best), np.where(better, cost, least)
    return best
