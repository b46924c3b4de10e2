"""Codebooks anew for an encoder that is finished, of its groups or of the refinements of these.

Groups: where codewords are chosen by a rate, those for fine detail are chosen less and less in training, until they are
where no latent is. A context model knows what each of many codewords costs at its place, so that fine codebooks do not
harm at low rates, and at high rates they are what is missing. Refinements: k-means on what the groups leave over.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.quantizers.product import ProductVQ
from vqcodec.quantizers.vq import CodebookBank

from .codebooks import LEAST_USE
from .data import Crops
from .run import TokenizerRun

CROPS = 192
BATCH = 8
ROUNDS = 6


@torch.no_grad()
def refit_codebooks(run: TokenizerRun, crops: Crops) -> None:
    """K-means on the latents of training crops; then what a codeword costs, from its use over the recipe's rates.

    Gains are those of the run's start, so that prices stay what the encoder was trained with.
    """
    quantizer, settings = run.model.quantizer, run.recipe.codebook
    z = latents(run, crops)
    generator = torch.Generator().manual_seed(run.recipe.run.seed)
    if "groups" in settings.refit:
        quantizer.bank.kmeans(quantizer.rows(z), generator)
    if "refinements" in settings.refit:
        _fit_refinements(quantizer, z, min(settings.rate_range), generator)
    if settings.rate:
        _set_costs(run, z, generator)


def latents(run: TokenizerRun, crops: Crops) -> Tensor:
    """[B, D, h, w] of some training crops."""
    model = run.model.eval()
    batches = [crops.batch(i).float() / 127.5 - 1 for i in range(max(1, CROPS // crops.data.batch))]
    return torch.cat([model.encoder(x).float() for x in torch.cat(batches).split(BATCH)])


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
