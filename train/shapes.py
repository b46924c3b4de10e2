"""Shapes of a tokenizer in training: the grid and the branches of its latent."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.config.model import TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.tokenizer import Tokenizer


@torch.no_grad()
def latent_grid(model: Tokenizer, crop: int) -> tuple[int, ...]:
    """(h, w), or (L,) for a sequence, of the latent of crops of `crop` px, found by encoding one."""
    training = model.training
    z = model.eval().encoder(torch.zeros(1, 3, crop, crop, device=next(model.parameters()).device))
    model.train(training)
    return tuple(z.shape[2:])


def branch_widths(config: TokenizerConfig) -> tuple[int, ...]:
    """Latent channels of each branch; a branch has codebooks of its own."""
    quantizer = config.quantizer
    if isinstance(quantizer, ProductVQConfig):
        return quantizer.widths
    return (quantizer.channels // quantizer.groups,) * quantizer.groups


def branches_of(latent: Tensor, config: TokenizerConfig) -> list[Tensor]:
    """latent, z or z_q [B, D, *] -> tokens [B, L, C] of each branch, in rows."""
    return [part.flatten(2).transpose(1, 2) for part in latent.split(list(branch_widths(config)), 1)]
