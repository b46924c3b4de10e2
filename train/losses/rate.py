"""The loss rate/bits: a differentiable zero-order estimate of the bits of a sub-token.

For a row z of group g with codewords c_k, their use u_k (moving average, sum 1) and the codebook's variance v_g,

    bits(z) = sum_k p_k * (-log2 u_k)        p = softmax_k(-|z - c_k|^2 / (TEMPERATURE * v_g))

The use has no context, so the estimate is an upper bound of the rate of an entropy model with context. The gradient
reaches z only; codebooks and use follow z by their own averages.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.tokenizer import Reconstruction, Tokenizer

from ..casts import product_of

TEMPERATURE = 0.05
"""Temperature as a share of the variance: about the quantization error of 256 codewords in four dimensions."""

LEAST_USAGE = 1e-6
"""Least use: a codeword costs at most 20 bits."""


def usage_bits(result: Reconstruction, tokenizer: Tokenizer, temperature: float = TEMPERATURE) -> Tensor:
    """Expected bits per sub-token of result.z [B, G*d, h, w], a scalar; 0 before the codebooks have been started.

    Stores G x B*h*w x K floats for the backward pass.
    """
    if not result.indices:
        return result.z.new_zeros(())
    quantizer = product_of(tokenizer)
    rows = quantizer.rows(result.z.float())  # [G, B*h*w, d]
    with torch.no_grad():
        codebooks = quantizer.codebooks.detach()  # [G, K, d]; may be the parameter itself
        usage = quantizer.bank.counts / quantizer.bank.counts.sum(1, keepdim=True)  # [G, K]
        bits = -usage.clamp_min(LEAST_USAGE).log2()
        mean = (usage[..., None] * codebooks).sum(1, keepdim=True)
        variance = (usage[..., None] * (codebooks - mean).square()).sum((1, 2)).clamp_min(1e-8)  # [G]
        lengths = codebooks.square().sum(-1)[:, None, :]
    # |z - c|^2 without |z|^2, which is the same for all codewords and leaves the softmax as it is.
    distance = torch.baddbmm(lengths, rows, codebooks.transpose(1, 2), alpha=-2)
    assigned = torch.softmax(-distance / (temperature * variance[:, None, None]), dim=-1)
    return (assigned * bits[:, None, :]).sum(-1).mean()
