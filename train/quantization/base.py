"""Interface of the codebooks in training: start, revival of dead codewords, and rate term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vqcodec.tokenizer import Tokenizer, to_unit


class CodebookTraining:
    """Codebooks of a run, between its steps. This class serves quantizers without codebooks: every step quantizes.

    The calls of a step, in order: `before_step` once; `draw_rate` and `started` before the forward pass of each
    accumulated batch; `after_step` once the optimizer has moved the weights. A frozen quantizer gets neither
    `before_step` nor `after_step`.
    """

    def started(self, step: int) -> bool:
        """True if `step` quantizes; earlier steps add noise instead."""
        return True

    def restart(self) -> None:
        """Apply the recipe's settings again after weights have been loaded from elsewhere."""

    def before_step(self, step: int, batches: Callable[[int], Tensor]) -> None:
        """Start the codebooks if `step` is their first; `batches(number)` are uint8 crops [B, 3, H, W]."""

    def after_step(self, step: int, z: Tensor, generator: torch.Generator) -> None:
        """Replace dead codewords; z [B, D, *] is this process's latent of the step."""

    def draw_rate(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """Factors [B] on the rate term of the samples; None without a rate term."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """State beyond the model's that the next step depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""


@torch.no_grad()
def gathered_latents(model: Tokenizer, batch: Tensor, accelerator: Accelerator) -> Tensor:
    """uint8 crops [B, 3, H, W] of each process -> latents [B * processes, D, *] of all, in evaluation mode."""
    model.eval()
    z: Tensor = model.encoder(to_unit(batch.to(memory_format=torch.channels_last), accelerator.device)).float()
    model.train()
    gathered: Tensor = accelerator.gather(z)
    return gathered
