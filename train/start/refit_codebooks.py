"""Codebooks anew for an encoder that is finished, of its groups or of the refinements of these.

Groups: where codewords are chosen by a rate, those for fine detail are chosen less and less in training, until they are
where no latent is. A context model knows what each of many codewords costs at its place, so that fine codebooks do not
harm at low rates, and at high rates they are what is missing. Balance: see balance.py. Refinements: k-means on what the
groups leave over.
"""

from __future__ import annotations

import torch
from accelerate.utils import broadcast
from torch import Tensor

from vqcodec.quantizers.codebook import CodebookBank
from vqcodec.quantizers.product import ProductVQ

from ..data.crops import Crops
from ..quantization.product import LEAST_USE
from ..run import TokenizerRun
from .rate_balance import LEAST_RATE, balance, rates_for

CROPS = 384
BATCH = 8
ROUNDS = 6


@torch.no_grad()
def refit_codebooks(run: TokenizerRun, crops: Crops) -> None:
    """K-means on the latents of training crops; then what a codeword costs, from its use over the recipe's rates.

    Gains are those of the run's start, so that prices stay what the encoder was trained with, but for a balance.
    """
    quantizer, settings = run.model.quantizer, run.recipe.codebook
    x, z = latents(run, crops)
    generator = torch.Generator().manual_seed(run.recipe.run.seed)
    if "groups" in settings.refit:
        quantizer.bank.kmeans(quantizer.rows(z), generator)
        quantizer.costs[: quantizer.groups] = 0
    if "balance" in settings.refit:
        low, high = settings.rate_range
        if quantizer.refinements is not None:
            low = min(max(low, LEAST_RATE), high)
        balance(run.model, x, z, rates_for(len(z), low, high, generator).to(z.device), settings.rate)
    if "refinements" in settings.refit:
        _fit_refinements(quantizer, z, min(settings.rate_range), generator)
    if settings.rate:
        _set_costs(run, z, generator)
    # Each process saw crops of its own, and all have to choose alike.
    for values in (*quantizer.parameters(), *quantizer.buffers()):
        values.copy_(broadcast(values.clone()))
    if "balance" in settings.refit:
        run.codebooks.load_state_dict({"gains": settings.rate / quantizer.prices[: quantizer.groups]})


def latents(run: TokenizerRun, crops: Crops) -> tuple[Tensor, Tensor]:
    """Some training crops [B, 3, H, W] in -1..1 and their latents [B, D, h, w]."""
    model = run.model.eval()
    batches = torch.cat([crops.batch(i) for i in range(max(1, CROPS // crops.data.batch))])
    x = batches.to(run.device).float() / 127.5 - 1
    return x, torch.cat([model.encoder(part).float() for part in x.split(BATCH)])


def _fit_refinements(quantizer: ProductVQ, z: Tensor, rate: float, generator: torch.Generator) -> None:
    """To what the groups leave over at a low `rate`; distances count as they show in the pixels."""
    refinements, groups = quantizer.refinements, quantizer.groups
    assert refinements is not None
    refinements.codebooks.zero_()
    importance = quantizer.importance()
    if quantizer.prices.any():
        # A mean channel's squared error for a bit, as dear in every plane.
        widths = torch.tensor(quantizer.widths, device=z.device)
        quantizer.prices[groups:] = 1 / (1 / quantizer.prices[:groups]).repeat_interleave(widths).mean()
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


def _set_costs(run: TokenizerRun, z: Tensor, generator: torch.Generator) -> None:
    """Bits under the use of the codewords at the recipe's rates, each sample at one of them."""
    quantizer = run.model.quantizer
    rates = run.codebooks.draw_rate(len(z), generator)
    rates = None if rates is None else rates.to(z.device)
    quantizer.costs.zero_()
    for _ in range(ROUNDS):
        planes = quantizer.nearest_planes(z, rates)
        use = torch.stack([torch.bincount(plane.flatten(), minlength=quantizer.sizes[0]) for plane in planes]).float()
        use += LEAST_USE * use.mean(1, keepdim=True)
        quantizer.costs.copy_(-(use / use.sum(1, keepdim=True)).log2() * quantizer.prices[:, None])
