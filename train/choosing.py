"""Indices for training as files will hold them: chosen by distance plus rate under a finished context model.

Differs from codebooks.py, whose rates know no context: those are for the time before there is a context model.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vqcodec.entropy.choose import choose_tiles
from vqcodec.errors import UsageError
from vqcodec.registry import load_model


class PriorChoice:
    """Chooses with the context model, codebooks and prices of the model called `name` or in the folder `name`.

    Raises ModelError if there is none, UsageError if it has no prices: it was trained without a rate.
    """

    def __init__(self, name: str) -> None:
        model = load_model(name)
        quantizer = model.tokenizer.quantizer
        if not quantizer.prices.any() or model.entropy.kind != "context":
            raise UsageError(f"codebook.choice: model '{name}' has no context model, or was trained without a rate")
        self.entropy = model.entropy
        self.prices = quantizer.prices.double().numpy()
        self.widths = list(quantizer.widths)
        self.codebooks = [book[:, :width] for book, width in zip(quantizer.codebooks, self.widths, strict=True)]

    def __call__(self, z: Tensor, rate: Tensor | None) -> list[Tensor]:
        """z [B, D, h, w], rates [B] (default 1) -> planes [B, h, w] int64; each sample counts as an access tile."""
        batch, _, h, w = z.shape
        parts = z.float().cpu().split(self.widths, 1)
        scores = [
            torch.cdist(part.flatten(2).transpose(1, 2), book[None].expand(batch, -1, -1)).square().numpy()
            for part, book in zip(parts, self.codebooks, strict=True)
        ]
        rates = np.ones(batch) if rate is None else rate.double().cpu().numpy()
        shapes = [((h, w),) * len(self.widths)] * batch
        layers = [list(range(len(self.widths)))]
        found = choose_tiles(
            self.entropy,
            lambda tile, s, positions: scores[s][tile, positions],
            np.outer(rates, self.prices),
            shapes,
            layers,
        )
        planes = [np.stack([choice.planes[s] for choice in found]) for s in range(len(self.widths))]
        return [torch.from_numpy(plane.astype(np.int64)).to(z.device) for plane in planes]
