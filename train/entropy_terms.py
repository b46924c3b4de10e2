"""The loss vq/entropy: certain for each sub-token, even over the codebook; mean entropy minus entropy of the mean.

Yu et al. 2024 (MAGVIT-v2), equation 5; Jansen et al. 2020. In nats; low is good, -log K is the least. Differs from
rate_terms.py, which wants codewords to be used unevenly, for few bits: this wants them all used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vqcodec.tokenizer import Reconstruction, Tokenizer

TEMPERATURE = 0.01
"""Of FQGAN (over squared distances) and SoftVQ-VAE (over cosines), sharper than what SoftVQ mixes codewords with."""
MOST_BITS = 20
"""Up to which all words of a codebook are counted."""


def assignment_entropy(logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """logits [N, K] of assigning N sub-tokens to K codewords -> mean entropy minus entropy of the mean assignment."""
    log_p = F.log_softmax(logits.float() / temperature, -1)
    p = log_p.exp()
    return _entropy(p, log_p).mean() - entropy_of(p.mean(0))


def distance_logits(rows: Tensor, codebook: Tensor) -> Tensor:
    """rows [N, d], codebook [K, d] -> minus the squared distances [N, K] (FQGAN, XQ-GAN)."""
    squares = rows.square().sum(1, keepdim=True) + codebook.square().sum(1)
    return -(squares - 2 * rows @ codebook.T)


def cosine_logits(rows: Tensor, codebook: Tensor) -> Tensor:
    """rows [N, d], codebook [K, d] -> their cosines [N, K] (SoftVQ-VAE)."""
    return F.normalize(rows, dim=-1) @ F.normalize(codebook, dim=-1).T


def bits_entropy(z: Tensor, value: float = 1.0, scale: float = 4.0) -> Tensor:
    """z [N, b], one bit per channel (LFQ, BSQ), each of them -value or +value -> as `assignment_entropy`, over 2^b.

    A sub-token's assignment is a product of b independent bits with P(+) = sigmoid(scale * z * value), so that its
    entropy is the sum of theirs. The entropy of the mean assignment is exact up to MOST_BITS; beyond, it is replaced by
    its upper bound, the sum for the mean bits.
    """
    p = torch.sigmoid(scale * z.float() * value)
    bits = z.shape[1]
    mean = bernoulli_entropy(p.mean(0)).sum() if bits > MOST_BITS else entropy_of(mean_assignment(p))
    return bernoulli_entropy(p).sum(1).mean() - mean


def mean_assignment(p: Tensor) -> Tensor:
    """p [N, b] of bits being 1 -> mean over N of the probability of each codeword [2^b], bit 0 the lowest.

    As a product of matrices for the lower and the upper half of the bits: 2^b numbers for each sub-token are never
    there at once.
    """
    half = p.shape[1] // 2
    lower, upper = joint(p[:, :half]), joint(p[:, half:])
    return (upper.T @ lower).flatten() / len(p)


def joint(p: Tensor) -> Tensor:
    """p [N, b] of independent bits being 1 -> probabilities [N, 2^b] of their words, bit 0 the lowest."""
    words = p.new_ones(len(p), 1)
    for bit in p.T:
        words = torch.cat([words * (1 - bit[:, None]), words * bit[:, None]], 1)
    return words


def bernoulli_entropy(p: Tensor) -> Tensor:
    """Of bits that are 1 with probability p, in nats, entry by entry; finite gradient at 0 and 1."""
    p = p.clamp(1e-7, 1 - 1e-7)
    return -(p * p.log() + (1 - p) * (1 - p).log())


def entropy_of(p: Tensor) -> Tensor:
    """Of the distribution p [K], in nats."""
    return -(p * p.clamp_min(1e-12).log()).sum()


def _entropy(p: Tensor, log_p: Tensor) -> Tensor:
    return -(p * log_p).sum(-1)


def entropy_loss(result: Reconstruction, tokenizer: Tokenizer) -> Tensor:
    """vq/entropy of a training pass: what the quantizer found, or for groups of codebooks their mean."""
    if result.entropy is not None:
        return result.entropy
    quantizer = tokenizer.quantizer
    rows, codebooks = quantizer.rows(result.z.float()), quantizer.codebooks.detach()
    terms = [
        assignment_entropy(distance_logits(part, codebook)) for part, codebook in zip(rows, codebooks, strict=True)
    ]
    return torch.stack(terms).mean()
