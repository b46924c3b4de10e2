"""Quantization steps by number, and their coordinate, the decoder's input."""

from __future__ import annotations

import math

from ..config.quantizers import STEPS

FINEST = 0.125
"""Quantization step of step number 0, in units of the latent."""
PER_OCTAVE = 8
"""Number of step numbers per doubling of the step."""
COORDINATE = (0.15, 12.0)
"""Quantization steps of the coordinates -1 and 1."""


def step_size(step: float) -> float:
    """Quantization step of a step number, which may be fractional."""
    return float(FINEST * 2 ** (step / PER_OCTAVE))


def step_number(size: float) -> int:
    """Step number 0..STEPS-1 whose quantization step is nearest to `size`."""
    return min(max(round(PER_OCTAVE * math.log2(size / FINEST)), 0), STEPS - 1)


def coordinate(step: float) -> float:
    """Decoder input for a step number: about -1..1, linear in the logarithm of the step."""
    low, high = (math.log2(size) for size in COORDINATE)
    return 2 * (math.log2(step_size(step)) - low) / (high - low) - 1


def size_of_coordinate(coordinate: float) -> float:
    """Quantization step of a decoder input, the inverse of `coordinate`."""
    low, high = (math.log2(size) for size in COORDINATE)
    return float(2 ** (low + (coordinate + 1) * ((high - low) / 2)))
