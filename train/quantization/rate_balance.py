"""Rate balance: the weight of a bit in each group from the errors that its codewords leave, and codewords to match.

Training measures the decoder's gain with noise (train/decoder_gain.py). A large decoder removes noise, so that a
group's gain is underestimated by up to six times. Here the gain of group g is the drop of the pixels' squared error
when the group's exact latent replaces its codewords, relative to the latent's squared error that disappears:

    gain_g = (|x - D(c)|^2 - |x - D(c with z_g)|^2) / |z_g - c_g|^2        lambda_weight_g = rate / gain_g

x are pixels in -1..1, z the latent, c its codewords, D the decoder, `rate` the squared error of the pixels that a bit
costs. Codewords and their bits then follow by Lloyd's algorithm with the Lagrangian of entropy-constrained vector
quantization (Chou, Lookabaugh and Gray 1989): each row goes to the codeword of least

    |z_g - c|^2 + r * lambda_weight_g * bits(c)

at the factor r of its crop; a codeword becomes the mean of its rows, its bits -log2 of its share of the rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqcodec.errors import UsageError
from vqcodec.quantizers.codebook import assigned, nearest
from vqcodec.quantizers.product import NO_CAP, ProductVQ
from vqcodec.tokenizer import Tokenizer

from ..casts import product_of
from .product_codebooks import bits_of_use

LEAST_GAIN = 0.01
"""Least gain, as a share of the gain before: on some crops a group's errors do not change the pixels, and a gain
of 0 would assign all of its rows to one codeword."""
LEAST_RATE = 1.0
"""Least factor r where there are refinements, which take over below it."""
ROUNDS = (10, 14)
"""Rounds of Lloyd's algorithm after each measurement of the gains."""
MEASURED = 24
"""Crops that gains are measured on."""
AT_ONCE = 8
"""Crops that are decoded at once."""
DEAD = 2
"""A codeword of fewer rows becomes a copy of the most used one, which costs less: it is then selected only at r = 0."""


@torch.no_grad()
def balance(model: Tokenizer, x: Tensor, z: Tensor, rates: Tensor, rate: float) -> None:
    """Set lambda weights, costs and codebooks of the groups of `model`.

    Args:
        model: tokenizer with a product quantizer, changed in place.
        x: crops [B, 3, H, W] in -1..1.
        z: their latents [B, D, h, w].
        rates: factor r of each crop [B].
        rate: squared error of the pixels that a bit costs at r = 1, as `codebook.rate`.

    Caps are left out: they are for coding in context.
    """
    quantizer = product_of(model)
    caps, groups = quantizer.lambda_caps.clone(), quantizer.groups
    quantizer.lambda_caps.fill_(NO_CAP)
    before = quantizer.lambda_weights[:groups].clone()
    for rounds in ROUNDS:
        bits = quantizer.bit_costs[:groups] / quantizer.lambda_weights[:groups, None].clamp_min(1e-30)
        some = slice(0, MEASURED)
        found = replacement_gains(model, x[some], z[some], rates[some])
        known = torch.where(before > 0, rate / before.clamp_min(1e-30), found.max())
        quantizer.lambda_weights[:groups] = rate / found.maximum(LEAST_GAIN * known)
        quantizer.bit_costs[:groups] = bits * quantizer.lambda_weights[:groups, None]
        _lloyd(quantizer, z, rates, rounds)
    quantizer.lambda_caps.copy_(caps)


@torch.no_grad()
def replacement_gains(model: Tokenizer, x: Tensor, z: Tensor, rates: Tensor) -> Tensor:
    """Gain of each group [G] for its codewords' errors, see the module; shapes as in `balance`.

    At most 0 if a group's errors do not change the pixels; raises UsageError if that holds for all groups.
    """
    quantizer, decoder = product_of(model), model.decoder
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
        raise UsageError("codebook.refit: no error of a codeword shows in the pixels; use `balance` on a finished run")
    return found


def _refinements(quantizer: ProductVQ) -> int:
    return len(quantizer.sizes) - quantizer.groups


def _lloyd(quantizer: ProductVQ, z: Tensor, rates: Tensor, rounds: int) -> None:
    groups, books = quantizer.groups, quantizer.bank.codebooks
    rows = quantizer.rows(z)
    weight = rates.repeat_interleave(math.prod(z.shape[2:]))[None]
    weights = quantizer.lambda_weights[:groups, None]
    costs = quantizer.bit_costs[:groups]
    for _ in range(rounds):
        # Group by group: the distances of all rows to all codewords are large.
        one = (slice(g, g + 1) for g in range(groups))
        index = torch.cat([nearest(rows[g], books[g], costs[g], weight) for g in one])
        hits, sums = assigned(rows, index, books.shape[1])
        books.copy_(torch.where(hits[..., None] > 0, sums / hits.clamp_min(1)[..., None], books))
        costs = bits_of_use(hits) * weights
    for book, hit in zip(books, hits, strict=True):
        book[hit < DEAD] = book[hit.argmax()].clone()
    quantizer.bit_costs[:groups] = costs
    quantizer.bank.restart(hits, rows)
