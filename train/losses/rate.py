"""What the loss rate/bits may mean: differentiable estimates of the bits of a sub-token.

Differs from vqcodec/entropy: nothing is coded; an estimate here only has to push z where coding is cheap.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.tokenizer import Reconstruction, Tokenizer

TEMPERATURE = 0.05
"""Share of a codebook's variance: near the quantization error of 256 codewords in four dimensions."""

LEAST_USAGE = 1e-6
"""A codeword never costs more than 20 bits, however long it has been idle."""


def usage_bits(result: Reconstruction, tokenizer: Tokenizer, temperature: float = TEMPERATURE) -> Tensor:
    """Expected bits per sub-token of result.z [B, G*d, h, w] under the usage of the codebooks; a zero-order term.

    Usage is the moving average the codebooks keep of their own hits, without any context, so that this bounds from
    above what an entropy model with context spends. z is assigned softly, by a softmax of -distance^2 over
    `temperature` times the variance of the codebook, so that there is a gradient; it goes to z alone, as the
    codebooks and their usage follow z by themselves. Zero before the codebooks have been started.
    Holds G x B*h*w x K floats for the backward pass.
    """
    if not result.indices:
        return result.z.new_zeros(())
    quantizer = tokenizer.quantizer
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
