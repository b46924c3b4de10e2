"""Index selection under the context model of a finished model, in training as in the encoder.

Each index minimizes squared error plus lambda times its bits under the context model (`codebook.choice`). The rate term
of product_codebooks.py takes bits from the use of the codewords, without context; it needs no finished model.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vqcodec.encoder.codeword_distances import CodewordDistances
from vqcodec.encoder.index_selection import select_indices
from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model

from ..casts import product_of


class PriorChoice:
    """Selection with the context model, codebooks and lambda weights of the model called `name` or in that folder.

    Raises ModelError if there is none, UsageError for a model without context model or rate term.
    """

    def __init__(self, name: str) -> None:
        model = load_model(name)
        quantizer = product_of(model.tokenizer)
        if not quantizer.lambda_weights.any() or model.entropy.kind != "context":
            raise UsageError(f"codebook.choice: model '{name}' has no context model, or no rate term")
        self.entropy = model.entropy
        self.sizes = quantizer.sizes
        self.codewords = CodewordDistances(quantizer.arrays())

    def __call__(self, z: Tensor, rate: Tensor | None) -> list[Tensor]:
        """z [B, D, h, w], rates [B] (default 1) -> planes [B, h, w] int64; each sample counts as an access tile."""
        batch, _, h, w = z.shape
        latents = z.float().cpu().numpy()
        rates = np.ones(batch) if rate is None else rate.double().cpu().numpy()
        planes = len(self.sizes)
        shapes = [((h, w),) * planes] * batch
        layers = (tuple(range(planes)),)
        found = select_indices(
            self.entropy,
            lambda tile, s, chosen: self.codewords.of_plane(s, latents[tile], chosen),
            self.codewords.distance_per_bit(rates[:, None]),
            shapes,
            layers,
        )
        planes_found = [np.stack([choice.planes[s] for choice in found]) for s in range(planes)]
        return [torch.from_numpy(plane.astype(np.int64)).to(z.device) for plane in planes_found]
