"""The codebooks in training: how they start, stay in use, and what a codeword costs.

The averages themselves move in vqcodec.quantizers.codebook, within the forward pass. Here is what needs the trainer:
latents of all processes, past batches, and the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vqcodec.quantizers.product import NO_CAP
from vqcodec.tokenizer import Tokenizer

from ..recipe.schema import Recipe

KMEANS_BATCHES = 24
"""Batches before the start that k-means sees."""
GAIN_EVERY = 200
"""Steps between measurements of the decoder's gain."""
BLEND_DECAY = 0.99
"""Decay of the averages of use, per update, where `blend` revives."""
LEAST_USE = 1e-3
"""Of the mean use: a codeword that is never chosen costs at most 10 bits more than the mean one."""


class Codebooks:
    """K-means start, revival and rate of the codebooks of `model`, the same in all processes."""

    def __init__(self, recipe: Recipe, model: Tokenizer, accelerator: Accelerator) -> None:
        self.recipe, self.model, self.accelerator = recipe, model, accelerator
        self.settings = recipe.codebook
        self.bank = model.quantizer.bank
        self.bank.decay = BLEND_DECAY if self.settings.revival == "blend" else self.settings.decay
        if usage_from_zero(recipe):
            self.bank.counts.zero_()
        self.gains: Tensor | None = None
        self.set_caps()

    def set_caps(self) -> None:
        """The recipe's caps, also where the run starts from a model that had others."""
        caps = self.model.quantizer.caps
        caps.fill_(NO_CAP)
        for group, cap in enumerate(self.settings.rate_caps):
            caps[group] = cap

    def started(self, step: int) -> bool:
        """Whether `step` quantizes."""
        return "quantizer" in self.recipe.optimizer.frozen or step >= self.settings.kmeans_at

    def before_step(self, step: int, batches: Callable[[int], Tensor]) -> None:
        """K-means on the latents of the last batches when the codebooks start; then the cost of each codeword."""
        if step == self.settings.kmeans_at > 0:
            numbers = step * self.recipe.optimizer.accumulate
            rows = [self._rows(batches(i)) for i in range(max(0, numbers - KMEANS_BATCHES), numbers)]
            self.bank.kmeans(torch.cat(rows, 1), torch.Generator().manual_seed(self.recipe.run.seed))
        if self.settings.rate and self.started(step):
            if self.gains is None or step % GAIN_EVERY == 0:
                self.gains = self._measure_gains(batches(step * self.recipe.optimizer.accumulate))
            self._set_costs(step)

    def after_step(self, step: int, z: Tensor, generator: torch.Generator) -> None:
        """Revival of dead codewords from this process's latents z [B, D, h, w] and those of the others."""
        if revival_due(self.recipe, step):
            rows = self.model.quantizer.rows(self.accelerator.gather(z))
            if self.settings.revival == "blend":
                self.bank.blend(rows, generator, usage_filled(self.recipe, step))
            else:
                self.bank.revive(rows, generator)

    def draw_rate(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """How much the rate counts for each sample [B], evenly in its logarithm; None without a rate."""
        if not self.settings.rate:
            return None
        low, high = (math.log(value) for value in self.settings.rate_range)
        return torch.exp(low + (high - low) * torch.rand(batch, generator=generator))

    def _set_costs(self, step: int) -> None:
        """Bits under the codewords' usage, in units of the latent's squared error."""
        assert self.gains is not None
        use = self.bank.counts + LEAST_USE * self.bank.counts.mean(1, keepdim=True)
        bits = -(use / use.sum(1, keepdim=True)).log2()
        ramp = min(1.0, (step - self.settings.kmeans_at) / max(self.settings.rate_ramp, 1))
        quantizer, groups = self.model.quantizer, self.model.quantizer.groups
        quantizer.prices[:groups] = ramp * self.settings.rate / self.gains
        quantizer.costs[:groups] = bits * quantizer.prices[:groups, None]

    @torch.no_grad()
    def _rows(self, batch: Tensor) -> Tensor:
        """uint8 crops [B, 3, H, W] of each process -> rows [G, N, d] of all."""
        self.model.eval()
        z = self.model.encoder(_pixels(batch, self.accelerator.device)).float()
        self.model.train()
        return self.model.quantizer.rows(self.accelerator.gather(z))

    @torch.no_grad()
    def _measure_gains(self, batch: Tensor) -> Tensor:
        """Squared error of the pixels per squared error of the latent, for each group [G].

        Without it a rate would be no rate: the network would scale the latent up until its bits cost nothing.
        """
        self.model.eval()
        quantizer, generator = self.model.quantizer, torch.Generator().manual_seed(0)
        z = self.model.encoder(_pixels(batch, self.accelerator.device)).float()
        kept = z.new_ones(len(z), quantizer.groups, *z.shape[2:])
        base = self.model.decoder(z, kept)
        gains = []
        for part in torch.split(torch.arange(z.shape[1]), list(quantizer.widths)):
            error = torch.zeros_like(z)
            shape = (len(z), len(part), *z.shape[2:])
            error[:, part] = 0.1 * torch.randn(shape, generator=generator).to(z.device)
            moved = self.model.decoder(z + error, kept)
            gains.append((moved - base).square().sum() / error.square().sum())
        self.model.train()
        return self.accelerator.reduce(torch.stack(gains), "mean")

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on beside the model."""
        return {"gains": self.gains}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        gains = state["gains"]
        self.gains = None if gains is None else gains.to(self.accelerator.device)


def revival_due(recipe: Recipe, step: int) -> bool:
    """Whether dead codewords are revived after `step`: not before there are any, nor while the rate decays."""
    optimizer, settings = recipe.optimizer, recipe.codebook
    if settings.revival == "none" or not settings.kmeans_at <= step < optimizer.steps - optimizer.decay:
        return False
    return settings.revival == "blend" or step % settings.revive_every == 0


def usage_from_zero(recipe: Recipe) -> bool:
    """True if the averages of use begin at zero, as in MGVQ's release (CVQ-VAE): the first latents replace all
    codewords. Not after k-means, nor where a run starts from codebooks."""
    return recipe.codebook.revival == "blend" and not recipe.codebook.kmeans_at and not recipe.start_from


def usage_filled(recipe: Recipe, step: int, updates: int = 1) -> float:
    """Share 0..1 that averages of use which began at zero have seen after `step`, at so many updates a part."""
    if not usage_from_zero(recipe):
        return 1.0
    return 1 - BLEND_DECAY ** ((step + 1) * recipe.optimizer.accumulate * updates)


def _pixels(batch: Tensor, device: torch.device) -> Tensor:
    return batch.to(device, memory_format=torch.channels_last).float() / 127.5 - 1
