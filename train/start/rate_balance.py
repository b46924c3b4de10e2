"""Prices and codebooks of groups in balance: what a bit is worth by the errors that codewords really leave.

Differs from codebooks.py, which prices bits in training by how the decoder answers to noise. A large decoder takes
noise out again, so that there a channel looks cheaper than it is: by up to six times. Here it is what the pixels gain
when a group's own latent takes the place of its codewords. Codebooks follow by entropy-constrained vector quantization
(Chou, Lookabaugh and Gray 1989): each row goes to the codeword of least distance + rate, at a rate of its crop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqcodec.errors import UsageError
from vqcodec.quantizers.codebook import assigned, nearest
from vqcodec.quantizers.product import NO_CAP, ProductVQ
from vqcodec.tokenizer import Tokenizer

from ..quantization.product import LEAST_USE

LEAST_GAIN = 0.01
"""Share of what a group was taken to show in the pixels that it is taken to show at the least: some crops may say that
its errors show nothing, and at such a price all of its rows would go to one codeword."""
LEAST_RATE = 1.0
"""Where there are refinements, rates below this are theirs."""
ROUNDS = (10, 14)
"""Of Lloyd's algorithm after each measurement of the gains."""
MEASURED = 24
"""Crops that gains are measured on."""
AT_ONCE = 8
DEAD = 2
"""A codeword of fewer rows gets the place of the most used one, which costs less: it may only still be chosen where no
rate counts at all."""


@torch.no_grad()
def balance(model: Tokenizer, x: Tensor, z: Tensor, rates: Tensor, rate: float) -> None:
    """Set prices, costs and codebooks of the groups of `model`.

    For crops x [B, 3, H, W] in -1..1 and their latents z [B, D, h, w]. `rates` [B] count for the crops; `rate` is the
    squared error that a bit is worth, as recipes have it. Caps are left out of it: they are for coding in context.
    """
    quantizer = model.quantizer
    caps, groups = quantizer.caps.clone(), quantizer.groups
    quantizer.caps.fill_(NO_CAP)
    priced = quantizer.prices[:groups].clone()
    for rounds in ROUNDS:
        bits = quantizer.costs[:groups] / quantizer.prices[:groups, None].clamp_min(1e-30)
        some = slice(0, MEASURED)
        found = gains(model, x[some], z[some], rates[some])
        known = torch.where(priced > 0, rate / priced.clamp_min(1e-30), found.max())
        quantizer.prices[:groups] = rate / found.maximum(LEAST_GAIN * known)
        quantizer.costs[:groups] = bits * quantizer.prices[:groups, None]
        _lloyd(quantizer, z, rates, rounds)
    quantizer.caps.copy_(caps)


@torch.no_grad()
def gains(model: Tokenizer, x: Tensor, z: Tensor, rates: Tensor) -> Tensor:
    """Squared error of the pixels per squared error of the latent that the codewords of each group leave, [G].

    Shapes as in `balance`. Not above 0 where a group's errors do not show; raises UsageError if none do.
    """
    quantizer, decoder = model.quantizer, model.decoder
    groups = quantizer.groups
    shown, left = z.new_zeros(groups), z.new_zeros(groups)
    parts = torch.arange(z.shape[1]).split(list(quantizer.widths))
    for pixels, latent, weight in zip(x.split(AT_ONCE), z.split(AT_ONCE), rates.split(AT_ONCE), strict=True):
        planes = quantizer.nearest_planes(latent, weight)[:groups]
        code, kept = quantizer.dequantize(planes + [torch.full_like(planes[0], -1)] * _refinements(quantizer))
        error = (pixels - decoder(code, kept)).square().sum()
        for g, part in enumerate(parts):
            exact = code.clone()
            exact[:, part] = latent[:, part]
            shown[g] += error - (pixels - decoder(exact, kept)).square().sum()
            left[g] += (latent[:, part] - code[:, part]).square().sum()
    found = shown / left.clamp_min(1e-12)
    if not found.max() > 0:
        raise UsageError("codebook.refit: no error of a codeword shows in the pixels; balance a finished run")
    return found


def _refinements(quantizer: ProductVQ) -> int:
    return len(quantizer.sizes) - quantizer.groups


def _lloyd(quantizer: ProductVQ, z: Tensor, rates: Tensor, rounds: int) -> None:
    groups, books = quantizer.groups, quantizer.bank.codebooks
    rows = quantizer.rows(z)
    weight = rates.repeat_interleave(math.prod(z.shape[2:]))[None]
    prices = quantizer.prices[:groups, None]
    costs = quantizer.costs[:groups]
    for _ in range(rounds):
        # Group by group: distances of all rows to all codewords are large.
        one = (slice(g, g + 1) for g in range(groups))
        index = torch.cat([nearest(rows[g], books[g], costs[g], weight) for g in one])
        hits, sums = assigned(rows, index, books.shape[1])
        books.copy_(torch.where(hits[..., None] > 0, sums / hits.clamp_min(1)[..., None], books))
        use = hits + LEAST_USE * hits.mean(1, keepdim=True)
        costs = -(use / use.sum(1, keepdim=True)).log2() * prices
    for book, hit in zip(books, hits, strict=True):
        book[hit < DEAD] = book[hit.argmax()].clone()
    quantizer.costs[:groups] = costs
    quantizer.bank.restart(hits, rows)


def rates_for(count: int, lowest: float, highest: float, generator: torch.Generator) -> Tensor:
    """A rate for each of `count` crops, evenly in the logarithm."""
    return lowest * torch.exp(math.log(highest / lowest) * torch.rand(count, generator=generator))
