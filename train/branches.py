"""The branches of a quantizer: the parts of the latent that have codebooks of their own, as sequences of tokens."""

from __future__ import annotations

from torch import Tensor

from vqcodec.tokenizer import Tokenizer


def branches_of(latent: Tensor, tokenizer: Tokenizer) -> list[Tensor]:
    """latent, z or z_q [B, D, h, w] -> of each branch the tokens [B, L, C], in rows."""
    return [part.flatten(2).transpose(1, 2) for part in latent.split(list(tokenizer.quantizer.widths), 1)]


def branch_count(tokenizer: Tokenizer) -> int:
    """How many there are."""
    return len(tokenizer.quantizer.widths)
