"""Refit of codebooks to a finished encoder: k-means on the latents of the groups, or of the refinements' residual.

Under a rate term rarely used codewords drift away from the data, those for fine detail above all. A context model
spends few bits on codewords that the context predicts, so refitted fine codebooks cost almost nothing at low rates and
lower the distortion at high rates. `balance` (rate_balance.py) sets the weight of a bit in each group and moves its
codewords.
"""

from __future__ import annotations

import torch
from accelerate.utils import broadcast
from torch import Tensor

from vqcodec.quantizers.codebook import CodebookBank
from vqcodec.quantizers.product import ProductVQ
from vqcodec.tokenizer import Tokenizer, to_unit

from ..casts import product_of
from ..data.crops import Crops
from ..recipe.schema import CodebookRecipe
from .product_codebooks import bits_of_use, draw_rates
from .rate_balance import LEAST_RATE, balance

CROPS = 384
"""Training crops whose latents are fitted."""
BATCH = 8
"""Crops that are encoded at once."""
ROUNDS = 6
"""Rounds of selection and counting that settle the bits of the codewords."""


@torch.no_grad()
def refit_codebooks(tokenizer: Tokenizer, settings: CodebookRecipe, seed: int, crops: Crops) -> None:
    """Refit the parts `settings.refit`, then count the bits of the codewords over `settings.rate_range`.

    Lambda weights stay those the encoder was trained with, unless `balance` measures them again.
    """
    quantizer = product_of(tokenizer)
    x, z = latents(tokenizer, crops)
    generator = torch.Generator().manual_seed(seed)
    low, high = settings.rate_range
    if "groups" in settings.refit:
        quantizer.bank.kmeans(quantizer.rows(z), generator)
        quantizer.bit_costs[: quantizer.groups] = 0
    if "balance" in settings.refit:
        least = low if quantizer.refinements is None else min(max(low, LEAST_RATE), high)
        balance(tokenizer, x, z, draw_rates(len(z), least, high, generator).to(z.device), settings.rate)
    if "refinements" in settings.refit:
        _fit_refinements(quantizer, z, low, generator)
    if settings.rate:
        _set_costs(quantizer, z, draw_rates(len(z), low, high, generator).to(z.device))
    # Each process saw crops of its own; all must select alike.
    for values in (*quantizer.parameters(), *quantizer.buffers()):
        values.copy_(broadcast(values.clone()))


def latents(tokenizer: Tokenizer, crops: Crops) -> tuple[Tensor, Tensor]:
    """Training crops x [B, 3, H, W] in -1..1 and their latents z [B, D, h, w], on the tokenizer's device."""
    tokenizer.eval()
    batches = torch.cat([crops.batch(i) for i in range(max(1, CROPS // crops.data.batch))])
    x = to_unit(batches, next(tokenizer.parameters()).device)
    return x, torch.cat([tokenizer.encoder(part).float() for part in x.split(BATCH)])


def _fit_refinements(quantizer: ProductVQ, z: Tensor, rate: float, generator: torch.Generator) -> None:
    """K-means on the residual of the groups at the factor `rate`, with channels weighted by their gain.

    The codeword of least length becomes zero and number 0, so that a refinement can be left out.
    """
    refinements, groups = quantizer.refinements, quantizer.groups
    assert refinements is not None
    refinements.codebooks.zero_()
    importance = quantizer.importance()
    if quantizer.lambda_weights.any():
        # One lambda weight for all planes: that of the mean channel.
        widths = torch.tensor(quantizer.widths, device=z.device)
        quantizer.lambda_weights[groups:] = 1 / (1 / quantizer.lambda_weights[:groups]).repeat_interleave(widths).mean()
    scale = importance.sqrt()[None, :, None, None]
    rows = refinements.split((z - quantizer.dequantize(quantizer.quantize(z, rate))[0]) * scale)
    bank = CodebookBank(*refinements.codebooks.shape).to(z.device)
    bank.kmeans(rows, generator)
    books = bank.codebooks / refinements.split(scale).clamp_min(1e-12)
    smallest = bank.codebooks.square().sum(2).argmin(1)
    for book, place in zip(books, smallest.tolist(), strict=True):
        book[place] = book[0]
        book[0] = 0
    refinements.codebooks.copy_(books)


def _set_costs(quantizer: ProductVQ, z: Tensor, rates: Tensor) -> None:
    """Set the costs of the codewords to their bits when each sample selects at its factor in `rates` [B]."""
    quantizer.bit_costs.zero_()
    for _ in range(ROUNDS):
        planes = quantizer.nearest_planes(z, rates)
        use = torch.stack([torch.bincount(plane.flatten(), minlength=quantizer.sizes[0]) for plane in planes]).float()
        quantizer.bit_costs.copy_(bits_of_use(use) * quantizer.lambda_weights[:, None])
