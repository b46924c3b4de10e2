"""The loss vq/disentanglement: branches of a quantizer say different things of the same place.

FQGAN, section 3.2.1, equation 7, as its released code has it: the dot product of codewords of unit length.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F


def disentanglement(branches: list[Tensor]) -> Tensor:
    """Branches [B, N, C] -> 0..1: squared cosine of two branches at a place, mean over places and pairs."""
    pairs = [
        F.cosine_similarity(one.float(), other.float(), dim=-1).square().mean()
        for one, other in itertools.combinations(branches, 2)
    ]
    return torch.stack(pairs).mean()
