"""Latent perturbation: random tokens become near codewords, so that the decoder tolerates a generator's errors.

RobustTok, in XQ-GAN. In the first share beta of the samples, each token is replaced with probability alpha by one of
its delta nearest codewords, itself included, drawn uniformly. alpha and delta fall linearly between two steps. The
losses of the quantizer are computed with the original tokens; the decoder receives the replaced ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqcodec.quantizers.base import Quantized
from vqcodec.tokenizer import Tokenizer

from ..casts import product_of
from ..processes import Processes
from ..recipe.schema import PerturbationRecipe


class LatentPerturbation:
    """Perturbation of the tokens that `model` quantizes in training, by the table `perturbation` of a recipe.

    `grid` is the size of the token grid of a crop, (h, w) or (L,).
    """

    def __init__(
        self, settings: PerturbationRecipe, model: Tokenizer, processes: Processes, grid: tuple[int, ...]
    ) -> None:
        self.settings, self.model, self.processes, self.grid = settings, model, processes, grid

    def draw(self, step: int, batch: int, generator: torch.Generator) -> None:
        """Draw the perturbation of the tokens for the next forward pass on `batch` samples of this process."""
        settings = self.settings
        if not settings.samples:
            return
        whole = batch * self.processes.num_processes
        numbers = torch.rand((whole, len(self.model.sizes), math.prod(self.grid), 2), generator=generator)
        numbers[int(whole * settings.samples) :, ..., 0] = 1.0
        first = self.processes.process_index * batch
        tokens, nearest = annealed(settings, step)
        mine = numbers[first : first + batch].to(self.processes.device)
        self.model.perturb = lambda z, made: self._perturbed(z, made, mine, tokens, nearest)

    def _perturbed(self, z: Tensor, made: Quantized, numbers: Tensor, tokens: float, nearest: int) -> Tensor:
        """z_q of `made` with perturbed tokens; the gradient is that of the unperturbed z_q."""
        quantizer = product_of(self.model)
        rows, codebooks = quantizer.rows(z).detach(), quantizer.codebooks.detach()
        planes = []
        for s, plane in enumerate(made.indices):
            chances = numbers[:, s].reshape(-1, 2)
            index = perturbed(plane.flatten(), rows[s], codebooks[s], chances, tokens, nearest)
            planes.append(index.reshape(plane.shape))
        changed = torch.stack([(a != b).flatten(1).any(1) for a, b in zip(planes, made.indices, strict=True)]).any(0)
        z_q = quantizer.dequantize(planes)[0]
        # Unchanged samples keep the estimator's z_q to the last bit.
        hit = changed.reshape(-1, *[1] * (z_q.dim() - 1))
        return torch.where(hit, made.z_q + (z_q - made.z_q).detach(), made.z_q)


def annealed(recipe: PerturbationRecipe, step: int) -> tuple[float, int]:
    """(share of the tokens, nearest codewords) at `step`."""
    if not recipe.anneal:
        return recipe.tokens, recipe.nearest
    first, last = recipe.anneal
    done = min(1.0, max(0.0, (step - first) / (last - first)))
    left = 1 - (1 - recipe.floor) * done
    return recipe.tokens * left, max(1, int(recipe.nearest * left))


def perturbed(index: Tensor, rows: Tensor, codebook: Tensor, numbers: Tensor, tokens: float, nearest: int) -> Tensor:
    """index [N] of rows [N, d] in codebook [K, d] -> index [N], with a share `tokens` replaced.

    `numbers` [N, 2], uniform in 0..1: the first decides on replacement, the second picks one of the `nearest`
    codewords.
    """
    near = torch.cdist(rows, codebook).topk(nearest, largest=False).indices  # [N, nearest]
    place = (numbers[:, 1] * nearest).long().clamp_max(nearest - 1)
    other = near.gather(1, place[:, None])[:, 0]
    return torch.where(numbers[:, 0] < tokens, other, index)
