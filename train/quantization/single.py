"""The codebooks of codes in training: a k-means start, and revival, wherever a code stands.

Differs from codebooks.py, which knows the groups of one bank: here a code may be the whole quantizer, the base of
residual stages or scales, or part of a split one. Rows are those that each code was asked about, so that nothing
need be known of the way to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vqcodec.quantizers.single import VQ
from vqcodec.tokenizer import Tokenizer

from ..recipe.schema import Recipe
from .product import BLEND_DECAY, KMEANS_BATCHES, revival_due, usage_filled, usage_from_zero

ROUNDS = 3
"""Of k-means for a code that several stages share: what is left over for the later ones depends on its codewords."""


class CodeBanks:
    """Answers what Codebooks answers, for every VQ in the quantizer of `model`; there is no rate."""

    def __init__(self, recipe: Recipe, model: Tokenizer, accelerator: Accelerator) -> None:
        self.recipe, self.model, self.accelerator = recipe, model, accelerator
        self.settings = recipe.codebook
        # In the order of the stages, so that each is started on what those before it leave over.
        self.codes = [module for module in model.quantizer.modules() if isinstance(module, VQ)]
        for code in self.codes:
            code.bank.decay = BLEND_DECAY if self.settings.revival == "blend" else self.settings.decay
            if usage_from_zero(recipe):
                code.bank.counts.zero_()

    def started(self, step: int) -> bool:
        """Whether `step` quantizes."""
        return "quantizer" in self.recipe.optimizer.frozen or step >= self.settings.kmeans_at

    def before_step(self, step: int, batches: Callable[[int], Tensor]) -> None:
        """K-means on the latents of the last batches when the codebooks start; then rows are kept for a revival."""
        if step == self.settings.kmeans_at > 0:
            numbers = step * self.recipe.optimizer.accumulate
            first = max(0, numbers - KMEANS_BATCHES)
            self._start([self._latents(batches(i)) for i in range(first, numbers)])
        due = revival_due(self.recipe, step)
        for code in self.codes:
            code.asked = [] if due else None

    def after_step(self, step: int, z: Tensor, generator: torch.Generator) -> None:
        """Revival of dead codewords from the rows of this step, those of all processes."""
        for code in self.codes:
            if code.asked:
                rows = self.accelerator.gather(torch.cat(code.asked))[None]
                if self.settings.revival == "blend":
                    updates = len(code.asked) // self.recipe.optimizer.accumulate
                    code.bank.blend(rows, generator, usage_filled(self.recipe, step, updates))
                else:
                    code.bank.revive(rows, generator)
            code.asked = None

    def draw_rate(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """No rate."""
        return None

    @torch.no_grad()
    def _start(self, latents: list[Tensor]) -> None:
        generator = torch.Generator().manual_seed(self.recipe.run.seed)
        # Codewords of zero leave the whole latent over: a first guess for the later stages of a shared code.
        for code in self.codes:
            code.bank.codebooks.zero_()
        for code in self.codes:
            for _ in range(ROUNDS):
                code.asked = []
                for z in latents:
                    self.model.quantizer.quantize(z)
                stages = len(code.asked) // len(latents)
                code.bank.kmeans(torch.cat(code.asked)[None], generator, directions=code.directions)
                code.asked = None
                if stages == 1:
                    break

    @torch.no_grad()
    def _latents(self, batch: Tensor) -> Tensor:
        """uint8 crops [B, 3, H, W] of each process -> latents of all."""
        self.model.eval()
        x = batch.to(self.accelerator.device, memory_format=torch.channels_last).float() / 127.5 - 1
        z: Tensor = self.model.encoder(x).float()
        self.model.train()
        return self.accelerator.gather(z)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
