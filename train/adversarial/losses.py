"""Adversarial losses as functions of logits, and their names in recipes.

With r the logits of pictures, f those of reconstructions, means over batch and positions, softplus(t) = log(1 + e^t):

    discriminator   hinge            (max(0, 1 - r) + max(0, 1 + f)) / 2     Lim and Ye 2017
                    vanilla          (softplus(-r) + softplus(f)) / 2        Goodfellow et al. 2014, section 3
                    non-saturating   softplus(-r) + softplus(f)
    generator       hinge, vanilla   -f
                    non-saturating   softplus(-f)
    LeCAM           max(0, r - F)^2 + max(0, R - f)^2                        Tseng et al. 2021, equation 3

R and F are moving averages of the means of r and f.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of logits [B, 1, h, w]: half the sum of the means of max(0, 1 - real) and max(0, 1 + fake)."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def vanilla_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the sum of both cross entropies of logits [B, 1, h, w] with their labels, in nats."""
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def non_saturating_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Sum of both cross entropies, twice `vanilla_loss`; the two names differ in the generator's loss."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


DISCRIMINATOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": hinge_loss,
    "vanilla": vanilla_loss,
    "non-saturating": non_saturating_loss,
}
"""(logits of pictures, logits of reconstructions) -> scalar, by the name recipes use."""


def raise_logits(fake: Tensor) -> Tensor:
    """Generator's loss -mean(fake) of the hinge loss, and of VQGAN's vanilla loss."""
    return -fake.mean()


def raise_odds(fake: Tensor) -> Tensor:
    """Mean of -log sigmoid(fake); its gradient vanishes as reconstructions are classified as real."""
    return F.softplus(-fake).mean()


GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": raise_logits,
    "vanilla": raise_logits,
    "non-saturating": raise_odds,
}
"""Logits of reconstructions -> scalar, by the name recipes use."""


def lecam_loss(real: Tensor, fake: Tensor, averages: Tensor) -> Tensor:
    """LeCAM regularization: squared distance of logits [B, 1, h, w] to the other side's average; averages [2] = R, F.

    One-sided: logits beyond the other side's average add nothing.
    """
    return F.relu(real - averages[1]).square().mean() + F.relu(averages[0] - fake).square().mean()


def consistency_loss(logits: Tensor, again: Tensor) -> Tensor:
    """Mean squared difference between the logits of a batch and of its stronger augmentation, of the same shape.

    Zhang et al. 2020 (consistency regularization), section 2; both sides have a gradient.
    """
    return torch.nn.functional.mse_loss(again, logits)
