"""The loss vq/entropy: mean entropy of the soft assignments minus entropy of the mean assignment, in nats.

Yu et al. 2024 (MAGVIT-v2), equation 5; Jansen et al. 2020. With p_n = softmax(-|z_n - c_k|^2 / T) over the K codewords
and N rows z_n,

    loss = mean_n H(p_n) - H(mean_n p_n)        H(p) = -sum_k p_k log p_k

The first term makes each assignment certain, the second the use of the codebook even; the minimum is -log K. Quantizers
of one plane compute it themselves (vqcodec.quantizers); this file serves groups of codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.quantizers.base import assignment_entropy
from vqcodec.tokenizer import Reconstruction, Tokenizer

from ..casts import product_of

TEMPERATURE = 0.01
"""Temperature T of the squared distances (FQGAN)."""


def distance_logits(rows: Tensor, codebook: Tensor) -> Tensor:
    """rows [N, d], codebook [K, d] -> negative squared distances [N, K] (FQGAN, XQ-GAN)."""
    squares = rows.square().sum(1, keepdim=True) + codebook.square().sum(1)
    return -(squares - 2 * rows @ codebook.T)


def entropy_loss(result: Reconstruction, tokenizer: Tokenizer) -> Tensor:
    """vq/entropy of a training pass: the quantizer's own value, or the mean over groups of codebooks."""
    if result.entropy is not None:
        return result.entropy
    quantizer = product_of(tokenizer)
    rows, codebooks = quantizer.rows(result.z.float()), quantizer.codebooks.detach()
    terms = [
        assignment_entropy(distance_logits(part, codebook) / TEMPERATURE)
        for part, codebook in zip(rows, codebooks, strict=True)
    ]
    return torch.stack(terms).mean()
