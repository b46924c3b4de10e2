"""Codebooks anew for an encoder that is finished: as fine as they can be, whatever training did to them.

Where codewords are chosen by a rate, those for fine detail are chosen less and less in training, until they are where
no latent is. A context model knows what each of many codewords costs at its place, so that fine codebooks do not harm
at low rates, and at high rates they are what is missing.
"""

from __future__ import annotations

import torch

from vqcodec.quantizers.vq import nearest

from .codebooks import LEAST_USE
from .data import Crops
from .run import TokenizerRun

CROPS = 192
ROUNDS = 6


@torch.no_grad()
def refit_codebooks(run: TokenizerRun, crops: Crops) -> None:
    """K-means on the latents of training crops; then what a codeword costs, from its use over the recipe's rates.

    Gains are those of the run's checkpoint, so that prices stay what the encoder was trained with.
    """
    model, quantizer, settings = run.model.eval(), run.model.quantizer, run.recipe.codebook
    numbers = range(max(1, CROPS // crops.data.batch))
    batches = [crops.batch(i).float() / 127.5 - 1 for i in numbers]
    rows = quantizer.rows(torch.cat([model.encoder(x).float() for x in batches]))
    generator = torch.Generator().manual_seed(run.recipe.run.seed)
    quantizer.bank.kmeans(rows, generator)
    if not settings.rate:
        return
    weight = run.codebooks.draw_rate(rows.shape[1], generator)
    assert weight is not None
    quantizer.costs.zero_()
    for _ in range(ROUNDS):
        index = nearest(rows, quantizer.codebooks, quantizer.costs, quantizer._capped(weight))
        use = torch.stack([torch.bincount(row, minlength=quantizer.sizes[0]) for row in index]).float()
        use += LEAST_USE * use.mean(1, keepdim=True)
        quantizer.costs.copy_(-(use / use.sum(1, keepdim=True)).log2() * quantizer.prices[:, None])
