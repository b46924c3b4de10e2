"""Adversarial training: the discriminator with its optimizer, and the loss gan/generator of the tokenizer.

    x -> encoder, quantizer, decoder -> y -> augment -> discriminator, frozen -> gan/generator -> tokenizer's gradient
    x, y without their graph -------------> augment -> discriminator -> its loss, LeCAM, consistency -> its own gradient

Losses: losses.py. Augmentation: augment.py. Adaptive weight: Esser et al. 2021 (VQGAN), section 3.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from vqcodec.errors import InputError

from ..alignment.teachers import Teacher, load_teacher
from ..processes import OneProcess, Processes
from ..recipe.schema import GanRecipe
from .augment import NUMBERS, augment, view
from .dino_discriminator import DinoDiscriminator, token_batch_norm
from .discriminators import DISCRIMINATORS
from .losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES, consistency_loss, lecam_loss
from .style_discriminator import StyleGAN

LECAM_DECAY = 0.999
"""Decay of the moving averages of LeCAM, per step."""
MAX_ADAPTIVE = 1e4
"""Largest adaptive weight."""
CHANCES = (5, NUMBERS + 3)
"""Random numbers of a sample: y in the generator's pass; x, y, and again x and y in the discriminator's."""
STRONGER = 2.0
"""Strength of the augmentation of the consistency loss."""


def make_discriminator(recipe: GanRecipe, crop: int, teacher: Teacher | None = None) -> torch.nn.Module:
    """Network named by `recipe`, for crops of `crop` px; `teacher` replaces the backbone of dino.

    Raises InputError if the backbone is not available.
    """
    if recipe.discriminator == "style":
        return StyleGAN(recipe.channels, crop)
    if recipe.discriminator in DISCRIMINATORS:
        return DISCRIMINATORS[recipe.discriminator](recipe.channels, recipe.layers)
    teacher = teacher or load_teacher(recipe.backbone, "gan/generator", "gan.backbone_weights", recipe.backbone_weights)
    return DinoDiscriminator(teacher, token_batch_norm if recipe.discriminator == "dino-batch" else None)


class Adversary:
    """Discriminator, its optimizer and the moving averages of LeCAM.

    The first weights are drawn from torch's default generator. `network` is wrapped by `accelerator` and trains;
    `module` is the same network without the wrapper, for the tokenizer's pass, which must not synchronize the
    discriminator's gradients.
    """

    def __init__(
        self,
        recipe: GanRecipe,
        device: str | torch.device = "cpu",
        accelerator: Processes | None = None,
        crop: int = 256,
        teacher: Teacher | None = None,
    ) -> None:
        self.recipe = recipe
        self.processes: Processes = accelerator or OneProcess()
        module = make_discriminator(recipe, crop, teacher)
        self.module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            self.module.parameters(),
            lr=recipe.lr,
            betas=(recipe.betas[0], recipe.betas[1]),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.network, self.optimizer = self.processes.prepare(self.module, optimizer)
        self.averages = torch.zeros(2, device=device)
        """Moving averages of the logits of x and of y [2]; set by the first batch."""
        self.steps = 0

    def active(self, step: int) -> bool:
        """True if the adversarial loss is part of `step`."""
        return step >= self.recipe.start

    @property
    def draws(self) -> bool:
        """True if the random numbers `chances` have an effect."""
        return self.recipe.augment > 0 or self.recipe.consistency > 0 or isinstance(self.module, DinoDiscriminator)

    def generator_loss(self, y: Tensor, chances: Tensor | None = None) -> Tensor:
        """gan/generator of reconstructions y [B, 3, H, W]; has a gradient towards y only.

        `chances` [B, *CHANCES], uniform in 0..1, decide on the augmentation; None: none.
        """
        frozen = {name: value.detach() for name, value in self.module.named_parameters()}
        # Spectral norms update vectors in every pass; this pass must not change the network.
        frozen |= {name: value.clone() for name, value in self.module.named_buffers()}
        shown = self._shown(y.float(), chances, 0)
        return GENERATOR_LOSSES[self.recipe.generator](functional_call(self.module, frozen, (shown,)).float())

    def _shown(self, x: Tensor, chances: Tensor | None, which: int, strength: float = 1.0) -> Tensor:
        """x [B, 3, H, W] as the discriminator receives it: cropped or scaled, then augmented."""
        if chances is None:
            return x
        numbers = chances[:, which].to(x.device)
        if isinstance(self.module, DinoDiscriminator):
            x = view(x, numbers[:, NUMBERS:], self.module.px)
        probability = self.recipe.augment if strength == 1 else 1.0
        return augment(x, numbers[:, :NUMBERS], probability, strength) if probability else x

    def adaptive_weight(self, rec_loss: Tensor, gan_loss: Tensor, last_layer: Tensor) -> Tensor:
        """Adaptive weight of gan/generator (VQGAN, section 3.1), 0..1e4; a constant without graph.

            weight = |d rec_loss / d W| / (|d gan_loss / d W| + 1e-4)        W: `last_layer`, a weight of the decoder

        `rec_loss` is the weighted sum of rec/*. Gradients are means over the processes, so that all use one weight.
        """
        norms = []
        for loss in (rec_loss, gan_loss):
            (gradient,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
            norms.append(self.processes.reduce(gradient.float(), "mean").norm())
        return (norms[0] / (norms[1] + 1e-4)).clamp(0, MAX_ADAPTIVE)

    def step(self, x: Tensor, y: Tensor, lr_scale: float = 1.0, chances: Tensor | None = None) -> dict[str, Tensor]:
        """One step of the discriminator on pictures x and reconstructions y [B, 3, H, W], at lr * lr_scale.

        Within `accelerator.accumulate(adversary.network)` several batches make one step, as for the tokenizer.
        `chances` is as in generator_loss. Returns scalars without graph: gan/discriminator, gan/real and gan/fake (mean
        logits), and gan/lecam and gan/consistency (unweighted) where the recipe has them.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * lr_scale
        # Two passes: batch normalization must not mix x and y, as it does not in the generator's pass.
        x, y = x.detach().float(), y.detach().float()
        real = self.network(self._shown(x, chances, 1)).float()
        fake = self.network(self._shown(y, chances, 2)).float()
        total = DISCRIMINATOR_LOSSES[self.recipe.loss](real, fake)
        losses = {"gan/discriminator": total, "gan/real": real.mean(), "gan/fake": fake.mean()}
        if self.recipe.lecam:
            self._follow(torch.stack([losses["gan/real"], losses["gan/fake"]]).detach())
            losses["gan/lecam"] = lecam_loss(real, fake, self.averages)
            total = total + self.recipe.lecam * losses["gan/lecam"]
        if self.recipe.consistency and chances is not None:
            again = (self._shown(part, chances, 3 + i, STRONGER) for i, part in enumerate((x, y)))
            losses["gan/consistency"] = sum(
                (consistency_loss(a, self.network(b).float()) for a, b in zip((real, fake), again, strict=True)),
                real.new_zeros(()),
            )
            total = total + self.recipe.consistency * losses["gan/consistency"]
        self.processes.backward(total)
        if self.processes.sync_gradients:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        self.optimizer.step()
        # After the step: before the backward pass it would drop the gradients that earlier batches have accumulated.
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return {name: value.detach() for name, value in losses.items()}

    def _follow(self, means: Tensor) -> None:
        """Move the averages towards the mean logits [2] of all processes."""
        means = self.processes.reduce(means, "mean")
        self.averages = means if self.steps == 0 else torch.lerp(means, self.averages, LECAM_DECAY)

    def state_dict(self) -> dict[str, Any]:
        """State that the next step depends on: tensors and plain values."""
        return {
            "network": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": self.averages,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Raises InputError if it is of another discriminator."""
        try:
            self.module.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(f"the checkpoint holds another discriminator than recipe.gan: {reason}") from error
        self.averages = state["averages"].to(self.averages.device)
        self.steps = int(state["steps"])
