"""The loss vq/disentanglement: squared cosine between the codewords of different branches at one position.

FQGAN, section 3.2.1, equation 7, with the normalization of its released code. For branches i < j of n with codewords
c_i, c_j at position p,

    loss = mean over p and pairs of (c_i . c_j / (|c_i| |c_j|))^2

0 for orthogonal, 1 for parallel branches.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F


def disentanglement(branches: list[Tensor]) -> Tensor:
    """Branches [B, N, C] -> 0..1: squared cosine of two branches at a position, mean over positions and pairs."""
    pairs = [
        F.cosine_similarity(one.float(), other.float(), dim=-1).square().mean()
        for one, other in itertools.combinations(branches, 2)
    ]
    return torch.stack(pairs).mean()
