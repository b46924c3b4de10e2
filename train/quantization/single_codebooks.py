"""Training of single codebooks: k-means start and revival of every VQ within a quantizer.

A VQ may be the whole quantizer, the base of residual stages or scales, or a part of a split quantizer. Rows are those
that each VQ received in the forward pass, so that the path to it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from vqcodec.quantizers.single import VQ
from vqcodec.tokenizer import Tokenizer

from ..recipe.schema import Recipe
from .base import CodebookTraining, gathered_latents
from .product_codebooks import KMEANS_BATCHES
from .revival import BLEND_DECAY, revival_due, usage_filled, usage_from_zero

ROUNDS = 3
"""Rounds of k-means for a codebook that several stages share: the residual of later stages depends on its codewords."""


class SingleCodebooks(CodebookTraining):
    """Codebooks of every VQ in the quantizer of `model`; without a rate term."""

    def __init__(self, recipe: Recipe, model: Tokenizer, accelerator: Accelerator) -> None:
        self.recipe, self.model, self.accelerator = recipe, model, accelerator
        self.settings = recipe.codebook
        # In the order of the stages: each one starts on the residual of those before it.
        self.quantizers = [module for module in model.quantizer.modules() if isinstance(module, VQ)]
        for vq in self.quantizers:
            vq.bank.decay = BLEND_DECAY if self.settings.revival == "blend" else self.settings.decay
            if usage_from_zero(recipe):
                vq.bank.counts.zero_()

    def started(self, step: int) -> bool:
        """True from step `codebook.kmeans_at` on, and for a frozen quantizer."""
        return self.recipe.quantizer_frozen or step >= self.settings.kmeans_at

    def before_step(self, step: int, batches: Callable[[int], Tensor]) -> None:
        """K-means on the latents of the last batches when the codebooks start; rows are kept if a revival is due."""
        if step == self.settings.kmeans_at > 0:
            last = step * self.recipe.optimizer.accumulate
            first = max(0, last - KMEANS_BATCHES)
            self._start([gathered_latents(self.model, batches(i), self.accelerator) for i in range(first, last)])
        due = revival_due(self.recipe, step)
        for vq in self.quantizers:
            vq.asked = [] if due else None

    def after_step(self, step: int, z: Tensor, generator: torch.Generator) -> None:
        """Revive dead codewords from the rows of this step in all processes."""
        for vq in self.quantizers:
            if vq.asked:
                rows = self.accelerator.gather(torch.cat(vq.asked))[None]
                if self.settings.revival == "blend":
                    updates = len(vq.asked) // self.recipe.optimizer.accumulate
                    vq.bank.blend(rows, generator, usage_filled(self.recipe, step, updates))
                else:
                    vq.bank.revive(rows, generator)
            vq.asked = None

    @torch.no_grad()
    def _start(self, latents: list[Tensor]) -> None:
        generator = torch.Generator().manual_seed(self.recipe.run.seed)
        # Zero codewords pass the whole latent on: a first guess for the later stages of a shared codebook.
        for vq in self.quantizers:
            vq.bank.codebooks.zero_()
        for vq in self.quantizers:
            for _ in range(ROUNDS):
                vq.asked = []
                for z in latents:
                    self.model.quantizer.quantize(z)
                stages = len(vq.asked) // len(latents)
                vq.bank.kmeans(torch.cat(vq.asked)[None], generator, directions=vq.directions)
                vq.asked = None
                if stages == 1:
                    break
