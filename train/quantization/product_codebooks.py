"""Training of the codebooks of product-vq: k-means start, revival of dead codewords, and the rate term.

Rate term. Codewords are selected by the Lagrangian of entropy-constrained vector quantization (Chou, Lookabaugh and
Gray 1989),

    |z_g - c|^2 + lambda_weight_g * bits(c)        bits(c) = -log2 (use of c / use of all codewords of group g)

with z_g the latent of group g and c a codeword. A bit costs `codebook.rate` squared error of the pixels (-1..1,
summed), which is rate / gain_g in the latent, where gain_g is the decoder's gain (train/decoder_gain.py). Each sample
has a factor on the second term, drawn from `codebook.rate_range`. The use is the moving average that the codebooks
keep.

The averages themselves move in vqcodec.quantizers.codebook, within the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from typing_extensions import override

from vqcodec.quantizers.product import NO_CAP
from vqcodec.tokenizer import Tokenizer, to_unit

from ..casts import product_of
from ..decoder_gain import decoder_gain
from ..recipe.schema import Recipe
from .base import CodebookTraining, gathered_latents
from .revival import BLEND_DECAY, revival_due, usage_filled, usage_from_zero

KMEANS_BATCHES = 24
"""Last batches before the start of the codebooks whose latents k-means sees."""
GAIN_EVERY = 200
"""Steps between measurements of the decoder's gain."""
GAIN_NOISE = 0.1
"""Standard deviation of the noise that measures it, in units of the latent."""
LEAST_USE = 1e-3
"""Added to the use of every codeword, as a share of the mean use: a codeword that is never selected costs at most 10
bits more than the mean one."""


def bits_of_use(use: Tensor) -> Tensor:
    """Use of the codewords [G, K] -> bits of each under it [G, K]."""
    use = use + LEAST_USE * use.mean(1, keepdim=True)
    return -(use / use.sum(1, keepdim=True)).log2()


def draw_rates(count: int, lowest: float, highest: float, generator: torch.Generator) -> Tensor:
    """Factors [count] in lowest..highest, uniform in the logarithm, so that one model serves the range of rates."""
    low, high = math.log(lowest), math.log(highest)
    return torch.exp(low + (high - low) * torch.rand(count, generator=generator))


class ProductCodebooks(CodebookTraining):
    """Codebooks of `model`, one for each group; the same in all processes."""

    def __init__(self, recipe: Recipe, model: Tokenizer, accelerator: Accelerator) -> None:
        self.recipe, self.model, self.accelerator = recipe, model, accelerator
        self.settings = recipe.codebook
        self.quantizer = product_of(model)
        self.bank = self.quantizer.bank
        self.bank.decay = BLEND_DECAY if self.settings.revival == "blend" else self.settings.decay
        if usage_from_zero(recipe):
            self.bank.counts.zero_()
        self.gains: Tensor | None = None
        """Decoder's gain of each group [G]; None until it is measured."""
        self.restart()

    def started(self, step: int) -> bool:
        """True from step `codebook.kmeans_at` on, and for a frozen quantizer."""
        return self.recipe.quantizer_frozen or step >= self.settings.kmeans_at

    def restart(self) -> None:
        """Set the recipe's caps, which a state of another run or model overwrites."""
        caps = self.quantizer.lambda_caps
        caps.fill_(NO_CAP)
        for group, cap in enumerate(self.settings.rate_caps):
            caps[group] = cap

    def before_step(self, step: int, batches: Callable[[int], Tensor]) -> None:
        """K-means on the latents of the last batches when the codebooks start; then the cost of each codeword."""
        accumulate = self.recipe.optimizer.accumulate
        if step == self.settings.kmeans_at > 0:
            last = step * accumulate
            rows = [self._rows(batches(i)) for i in range(max(0, last - KMEANS_BATCHES), last)]
            self.bank.kmeans(torch.cat(rows, 1), torch.Generator().manual_seed(self.recipe.run.seed))
        if self.settings.rate and self.started(step):
            if self.gains is None or step % GAIN_EVERY == 0:
                self.gains = self._measure_gains(batches(step * accumulate))
            self._set_costs(step)

    def after_step(self, step: int, z: Tensor, generator: torch.Generator) -> None:
        """Revive dead codewords from the latents z [B, D, h, w] of all processes."""
        if revival_due(self.recipe, step):
            rows = self.quantizer.rows(self.accelerator.gather(z))
            if self.settings.revival == "blend":
                self.bank.blend(rows, generator, usage_filled(self.recipe, step))
            else:
                self.bank.revive(rows, generator)

    def draw_rate(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """Rate factors [B], drawn from `codebook.rate_range`; None without a rate term."""
        if not self.settings.rate:
            return None
        low, high = self.settings.rate_range
        return draw_rates(batch, low, high, generator)

    def _set_costs(self, step: int) -> None:
        """Costs of the codewords [G, K] at factor 1, in units of the latent's squared error."""
        assert self.gains is not None
        ramp = min(1.0, (step - self.settings.kmeans_at) / max(self.settings.rate_ramp, 1))
        quantizer, groups = self.quantizer, self.quantizer.groups
        quantizer.lambda_weights[:groups] = ramp * self.settings.rate / self.gains
        quantizer.bit_costs[:groups] = bits_of_use(self.bank.counts) * quantizer.lambda_weights[:groups, None]

    def _rows(self, batch: Tensor) -> Tensor:
        """uint8 crops [B, 3, H, W] of each process -> rows [G, N, d] of all."""
        rows: Tensor = self.quantizer.rows(gathered_latents(self.model, batch, self.accelerator))
        return rows

    @torch.no_grad()
    def _measure_gains(self, batch: Tensor) -> Tensor:
        """Decoder's gain of each group [G] on uint8 crops [B, 3, H, W], the mean over the processes.

        A rate without it would have no effect: the network would scale the latent up until its bits cost nothing.
        """
        model = self.model.eval()
        z = model.encoder(to_unit(batch.to(memory_format=torch.channels_last), self.accelerator.device)).float()
        kept = z.new_ones(len(z), self.quantizer.groups, *z.shape[2:])
        parts = torch.arange(z.shape[1]).split(list(self.quantizer.widths))
        gains = decoder_gain(model.decoder, z, kept, parts, GAIN_NOISE)
        model.train()
        mean: Tensor = self.accelerator.reduce(gains, "mean")
        return mean

    def state_dict(self) -> dict[str, Any]:
        """`gains` [G], or None until they are measured."""
        return {"gains": self.gains}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        gains = state["gains"]
        self.gains = None if gains is None else gains.to(self.accelerator.device)
