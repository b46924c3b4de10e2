"""Adversarial training: the discriminator's side in one object, and the loss it gives to the tokenizer.

    x -> encoder, quantizer, decoder -> y -> discriminator, frozen -> gan/generator -> gradient of the tokenizer
    x, y without their graph ---------------> discriminator ---------> hinge, LeCAM -> gradient of the discriminator

Hinge loss: Lim and Ye 2017. Adaptive weight: Esser et al. 2021 (VQGAN), section 3.1. LeCAM: Tseng et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from vqcodec.errors import InputError, UsageError

from .discriminators import DISCRIMINATORS, PatchGAN

LECAM_DECAY = 0.999
MAX_ADAPTIVE = 1e4


@dataclass(frozen=True)
class GanRecipe:
    """The table `gan` of a recipe; without a weight of gan/generator it does nothing."""

    discriminator: str = "patch"
    """patch or patch-plain, see train.discriminators."""
    channels: int = 64
    layers: int = 3
    start: int = 20000
    """Step from which both sides train."""
    lr: float = 1e-4
    betas: tuple[float, ...] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the discriminator's gradient."""
    adaptive: bool = False
    """Weigh gan/generator by the ratio of the gradients at the decoder's last layer as well."""
    lecam: float = 0.0
    """Weight of the LeCAM regularization; 0 is none."""


def check_gan(recipe: GanRecipe, crop: int) -> None:
    """Refuse what cannot train on crops of `crop` px. Raises UsageError naming the key."""
    least = PatchGAN.least_px(max(recipe.layers, 0))
    for wrong, problem in (
        (
            recipe.discriminator not in DISCRIMINATORS,
            f"discriminator: '{recipe.discriminator}' is not one of {', '.join(DISCRIMINATORS)}",
        ),
        (recipe.channels < 1, "channels: at least 1"),
        (not 1 <= recipe.layers <= 8, "layers: 1..8"),
        (crop < least, f"layers: {recipe.layers} of them need crops of {least} px, data.crop is {crop}"),
        (recipe.start < 0, "start: at least 0"),
        (not recipe.lr > 0, "lr: above 0"),
        (len(recipe.betas) != 2 or not all(0 <= beta < 1 for beta in recipe.betas), "betas: two numbers in 0..1"),
        (not recipe.weight_decay >= 0, "weight_decay: at least 0"),
        (not recipe.clip > 0, "clip: above 0"),
        (not recipe.lecam >= 0, "lecam: at least 0"),
    ):
        if wrong:
            raise UsageError(f"recipe.gan.{problem}")


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the means of max(0, 1 - real) and max(0, 1 + fake), over logits [B, 1, h, w]."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def lecam_loss(real: Tensor, fake: Tensor, averages: Tensor) -> Tensor:
    """Squared distance of logits [B, 1, h, w] to the other side's moving average; averages [2] = real, fake.

    One-sided: logits on the wrong side of the other's average are left to the hinge.
    """
    return F.relu(real - averages[1]).square().mean() + F.relu(averages[0] - fake).square().mean()


class Processes(Protocol):
    """What is used of accelerate's Accelerator."""

    @property
    def sync_gradients(self) -> bool:
        """Whether this batch completes a step: False for all but the last of accumulated batches."""

    def prepare(self, *parts: Any) -> Any:
        """The network and the optimizer, made ready for all processes."""

    def backward(self, loss: Tensor) -> None:
        """Fill the gradients."""

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        """`tensor` reduced over the processes."""


class OneProcess:
    """Does what Processes asks where there is nobody else."""

    sync_gradients = True

    def prepare(self, *parts: Any) -> Any:
        """The parts as they are."""
        return parts

    def backward(self, loss: Tensor) -> None:
        """Fill the gradients."""
        loss.backward()

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        """The tensor as it is."""
        return tensor


class Adversary:
    """The discriminator, its optimizer and the moving averages of LeCAM.

    The first weights are drawn from torch's default generator. `network` is what trains, wrapped by `accelerator` if
    there is one; `module` is the same network bare, for the tokenizer's pass, in which no gradient of the
    discriminator may be waited for.
    """

    def __init__(
        self, recipe: GanRecipe, device: str | torch.device = "cpu", accelerator: Processes | None = None
    ) -> None:
        self.recipe = recipe
        self.processes: Processes = accelerator or OneProcess()
        module = DISCRIMINATORS[recipe.discriminator](recipe.channels, recipe.layers)
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
        """Of the logits of x and of y; those of the first batch, after which they move."""
        self.steps = 0

    def active(self, step: int) -> bool:
        """Whether the adversarial part takes part in `step`."""
        return step >= self.recipe.start

    def generator_loss(self, y: Tensor) -> Tensor:
        """-mean D(y), gan/generator, of reconstructions y [B, 3, H, W]; has a gradient towards y only."""
        frozen = {name: value.detach() for name, value in self.module.named_parameters()}
        return -functional_call(self.module, frozen, (y.float(),)).float().mean()

    def adaptive_weight(self, rec_loss: Tensor, gan_loss: Tensor, last_layer: Tensor) -> Tensor:
        """|d rec_loss| / |d gan_loss| at the weight `last_layer` of the decoder, 0..1e4; a constant, the graph stays.

        `rec_loss` is the weighted sum of rec/*. Gradients are those of the global batch: as many processes, one weight.
        """
        norms = []
        for loss in (rec_loss, gan_loss):
            (gradient,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
            norms.append(self.processes.reduce(gradient.float(), "mean").norm())
        return (norms[0] / (norms[1] + 1e-4)).clamp(0, MAX_ADAPTIVE)

    def step(self, x: Tensor, y: Tensor, lr_scale: float = 1.0) -> dict[str, Tensor]:
        """One step of the discriminator on pictures x and reconstructions y [B, 3, H, W], at lr * lr_scale.

        Within `accelerator.accumulate(adversary.network)` several batches make one step, as for the tokenizer.
        Returns scalars without graph: gan/discriminator (hinge), gan/real and gan/fake (mean logits), and gan/lecam
        (unweighted) where the recipe has it.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * lr_scale
        # Apart, not joined: batch normalization must not see both at once, as it does not for the generator.
        real = self.network(x.detach().float()).float()
        fake = self.network(y.detach().float()).float()
        hinge = hinge_loss(real, fake)
        losses = {"gan/discriminator": hinge, "gan/real": real.mean(), "gan/fake": fake.mean()}
        total = hinge
        if self.recipe.lecam:
            self._follow(torch.stack([losses["gan/real"], losses["gan/fake"]]).detach())
            losses["gan/lecam"] = lecam_loss(real, fake, self.averages)
            total = total + self.recipe.lecam * losses["gan/lecam"]
        self.processes.backward(total)
        if self.processes.sync_gradients:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        self.optimizer.step()
        # Not before the backward pass: there it would drop what earlier batches of this step have accumulated.
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return {name: value.detach() for name, value in losses.items()}

    def _follow(self, means: Tensor) -> None:
        """Move the averages towards the mean logits [2] of all processes."""
        means = self.processes.reduce(means, "mean")
        self.averages = means if self.steps == 0 else torch.lerp(means, self.averages, LECAM_DECAY)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on: tensors and plain values."""
        return {
            "network": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": self.averages,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`. Raises InputError if it is that of another discriminator."""
        try:
            self.module.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(
                f"the checkpoint holds another discriminator than recipe.gan asks for: {reason}"
            ) from error
        self.averages = state["averages"].to(self.averages.device)
        self.steps = int(state["steps"])
