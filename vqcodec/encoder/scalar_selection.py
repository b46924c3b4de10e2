"""Rate-distortion selection of scalar values under the context network, position by position.

In units of the quantization step, a value q for the coefficient x costs

    (x - q)^2 + weight * tolerance * BALANCE * bits(q)

The tolerance (tolerance.py) is 1 in the low band: its errors are part of the coarse scales of structural similarity, at
which fine texture averages out and hides nothing.
Candidates are the nearest integer to x, the next one towards 0, and the next one towards the network's prediction.
Bits are those of the residual tables at the location and scale that the values before it give; the selection is greedy:
the effect of a value on the bits of later ones is not counted. Only encoders select, so floating-point rounding here
cannot affect decoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..config.quantizers import LARGEST
from ..entropy.rans import TileEncoder
from ..entropy.scalar_context import ScalarContextAt, mirrored
from ..entropy.scalar_known import KnownValues
from ..entropy.scalar_order import Band, Pass

BALANCE = 0.1155
"""Squared error, in squared steps, that balances a bit: ln(4) / 12. At high rate a uniform quantizer has the distortion
D = 1/12 and halves its step for one bit more, so -dD/dR = 2 ln(2) D (Gish and Pierce 1968)."""


def select_values(
    model: ScalarContextAt,
    coefficients: np.ndarray,
    weight: float,
    layers: Sequence[int],
    tolerance: np.ndarray,
    coder: TileEncoder | None = None,
) -> np.ndarray:
    """Coefficients float32 [D, h, w] in units of the step -> values int32 [D, h, w], 0 beyond `layers`.

    `tolerance` float32 [h, w] multiplies the weight of bits in all layers but the low band. With a `coder` the values
    are encoded in the same pass.
    """
    values = np.zeros(coefficients.shape, np.int32)
    known = KnownValues(model.model.layers, (coefficients.shape[1], coefficients.shape[2]))
    for k in layers:
        layer, own = model.model.layers[k], model.model.planes(k)
        predicted = None
        if np.abs(coefficients[own]).max() < 0.5 and not layer.low:  # all round to 0, which costs least
            known.begin_layer(layer)
        else:
            bands = layer.split(coefficients[own])
            error_per_bit = (1 if layer.low else tolerance) * np.float32(weight * BALANCE)
            weights = layer.split(np.broadcast_to(error_per_bit, (layer.width, *tolerance.shape)))

            def visit(
                part: Pass,
                location: np.ndarray,
                scale: np.ndarray,
                bands: Mapping[Band, np.ndarray] = bands,
                weights: Mapping[Band, np.ndarray] = weights,
            ) -> np.ndarray:
                x, error_per_bit = (part.of(of_band[part.band]) for of_band in (bands, weights))
                return _cheapest(model, x, location, scale, error_per_bit)

            values[own], predicted = model.select(k, known, visit)
        if coder is not None:
            model.code_layer(coder, k, known, values[own], predicted)
            coder.end_layer()
    return values


def _cheapest(
    model: ScalarContextAt, x: np.ndarray, location: np.ndarray, scale: np.ndarray, error_per_bit: np.ndarray
) -> np.ndarray:
    """Coefficients of any shape -> the candidates of least cost, int32."""
    nearest = np.round(x)
    predicted = (location + 4) >> 3
    best = np.zeros(x.shape, np.int32)
    # Most positions have no candidate but 0.
    places = np.nonzero((nearest != 0) | (predicted != 0))
    x, nearest, predicted = x[places], nearest[places], predicted[places]
    location, scale, error_per_bit = location[places], scale[places], error_per_bit[places]
    chosen, least = np.zeros(x.shape, np.int32), np.full(x.shape, np.inf, np.float32)
    for candidate in (nearest, nearest - np.sign(nearest), nearest - np.sign(nearest - predicted)):
        value = candidate.clip(-LARGEST, LARGEST).astype(np.int32)
        row, residual = mirrored(location, scale, value)
        cost = np.square(x - value) + error_per_bit * model.model.tables.bits_of(row, residual)
        better = cost < least
        chosen, least = np.where(better, value, chosen), np.where(better, cost, least)
    best[places] = chosen
    return best
