"""Rate-distortion selection of scalar values under the context network, position by position.

In units of the quantization step, a value q for the coefficient x costs

    (x - q)^2 + weight * BALANCE * bits(q)

Candidates are the nearest integer to x, the next one towards 0, and the next one towards the network's prediction.
Bits are those of the residual tables at the location and scale that the values before it give; the selection is greedy:
the effect of a value on the bits of later ones is not counted. Only encoders select, so floating-point rounding here
cannot affect decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config.quantizers import LARGEST
from ..entropy.rans import TileEncoder
from ..entropy.scalar_context import ScalarContextAt, mirrored
from ..entropy.scalar_network import KnownValues
from ..entropy.scalar_order import Pass

BALANCE = 0.1155
"""Squared error, in squared steps, that balances a bit: ln(4) / 12. At high rate a uniform quantizer has the distortion
D = 1/12 and halves its step for one bit more, so -dD/dR = 2 ln(2) D (Gish and Pierce 1968)."""


def select_values(
    model: ScalarContextAt,
    coefficients: np.ndarray,
    weight: float,
    layers: Sequence[int],
    coder: TileEncoder | None = None,
) -> np.ndarray:
    """Coefficients float32 [D, h, w] in units of the step -> values int32 [D, h, w], 0 beyond `layers`.

    With a `coder` the values are encoded in the same pass.
    """
    n_channels, h, w = coefficients.shape
    flat = coefficients.reshape(n_channels, -1)
    values = np.zeros(flat.shape, np.int32)
    known = KnownValues(model.model.widths, (h, w))
    error_per_bit = np.float32(weight * BALANCE)
    for k in layers:
        net = model.model.nets[k]
        own = slice(net.start, net.start + net.width)
        if np.abs(flat[own]).max() < 0.5 and k >= 2:  # all round to 0, which costs least
            selected, predicted = values[own], None
        else:
            layer = flat[own]

            def visit(part: Pass, location: np.ndarray, scale: np.ndarray, layer: np.ndarray = layer) -> np.ndarray:
                return _cheapest(model, layer[:, part.positions], location, scale, error_per_bit)

            selected, predicted = model.select(k, known, visit)
        if coder is None:
            known.values[own] = selected
            known.end_layer(k)
        else:
            model.code_layer(coder, k, known, selected, predicted)
            coder.end_layer()
        values[own] = selected
    return values.reshape(n_channels, h, w)


def _cheapest(
    model: ScalarContextAt, x: np.ndarray, location: np.ndarray, scale: np.ndarray, error_per_bit: np.float32
) -> np.ndarray:
    """Coefficients [n, N] -> the candidates of least cost, int32 [n, N]."""
    nearest = np.round(x)
    best = np.zeros(x.shape, np.int32)
    least = np.full(x.shape, np.inf, np.float32)
    predicted = (location + 4) >> 3
    for candidate in (nearest, nearest - np.sign(nearest), nearest - np.sign(nearest - predicted)):
        value = candidate.clip(-LARGEST, LARGEST).astype(np.int32)
        row, residual = mirrored(location, scale, value)
        cost = np.square(x - value) + error_per_bit * model.model.tables.bits_of(row, residual)
        better = cost < least
        best, least = np.where(better, value, best), np.where(better, cost, least)
    return best
