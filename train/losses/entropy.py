"""The loss vq/entropy: certain for each sub-token, even over the codebook; mean entropy minus entropy of the mean.

Yu et al. 2024 (MAGVIT-v2), equation 5; Jansen et al. 2020. In nats; low is good, -log K is the least. Differs from
rate_terms.py, which wants codewords to be used unevenly, for few bits: this wants them all used. The quantizers of the
papers compute it themselves (vqcodec.quantizers); here it is for groups of codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.quantizers.base import assignment_entropy
from vqcodec.tokenizer import Reconstruction, Tokenizer

TEMPERATURE = 0.01
"""Of FQGAN, over squared distances."""


def distance_logits(rows: Tensor, codebook: Tensor) -> Tensor:
    """rows [N, d], codebook [K, d] -> minus the squared distances [N, K] (FQGAN, XQ-GAN)."""
    squares = rows.square().sum(1, keepdim=True) + codebook.square().sum(1)
    return -(squares - 2 * rows @ codebook.T)


def entropy_loss(result: Reconstruction, tokenizer: Tokenizer) -> Tensor:
    """vq/entropy of a training pass: what the quantizer found, or for groups of codebooks their mean."""
    if result.entropy is not None:
        return result.entropy
    quantizer = tokenizer.quantizer
    rows, codebooks = quantizer.rows(result.z.float()), quantizer.codebooks.detach()
    terms = [
        assignment_entropy(distance_logits(part, codebook) / TEMPERATURE)
        for part, codebook in zip(rows, codebooks, strict=True)
    ]
    return torch.stack(terms).mean()
