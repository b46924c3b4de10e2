"""What discriminator and generator are trained towards, as functions of logits; tables name them.

Hinge: Lim and Ye 2017. Vanilla and non-saturating: Goodfellow et al. 2014, section 3. LeCAM: Tseng et al. 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the means of max(0, 1 - real) and max(0, 1 + fake), over logits [B, 1, h, w]."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def vanilla_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the cross entropies of logits [B, 1, h, w] with their labels, in nats."""
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def non_saturating_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The sum of both cross entropies, twice `vanilla_loss`: the two differ in the generator's part."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


DISCRIMINATOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": hinge_loss,
    "vanilla": vanilla_loss,
    "non-saturating": non_saturating_loss,
}
"""(logits of pictures, logits of reconstructions) -> scalar, by the name recipes use."""


def raise_logits(fake: Tensor) -> Tensor:
    """-mean: the generator's part of the hinge loss, and of VQGAN's vanilla one."""
    return -fake.mean()


def raise_odds(fake: Tensor) -> Tensor:
    """Mean of -log sigmoid(fake): as much gradient as there is to gain, none where all are taken for real."""
    return F.softplus(-fake).mean()


GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": raise_logits,
    "vanilla": raise_logits,
    "non-saturating": raise_odds,
}
"""Logits of reconstructions -> scalar, by the name recipes use."""


def lecam_loss(real: Tensor, fake: Tensor, averages: Tensor) -> Tensor:
    """Squared distance of logits [B, 1, h, w] to the other side's moving average; averages [2] = real, fake.

    One-sided: logits on the wrong side of the other's average are left to the discriminator's loss.
    """
    return F.relu(real - averages[1]).square().mean() + F.relu(averages[0] - fake).square().mean()


def consistency_loss(logits: Tensor, again: Tensor) -> Tensor:
    """Mean squared difference of the logits of a batch and of a more strongly augmented one, of the same shape.

    Zhang et al. 2020 (consistency regularization), section 2; both sides have a gradient.
    """
    return torch.nn.functional.mse_loss(again, logits)
