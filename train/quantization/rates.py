"""Factors on the rate term, drawn for each sample so that one model serves a range of rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw_rates(count: int, lowest: float, highest: float, generator: torch.Generator) -> Tensor:
    """Factors [count] in lowest..highest, uniform in the logarithm."""
    low, high = math.log(lowest), math.log(highest)
    return torch.exp(low + (high - low) * torch.rand(count, generator=generator))
