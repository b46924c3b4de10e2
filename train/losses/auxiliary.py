"""Auxiliary losses of the quantizer (vq/entropy, vq/disentanglement) and of the alignment (align/*).

All are functions of one forward pass of the tokenizer; alignment trains heads of its own along with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqcodec.errors import InputError
from vqcodec.tokenizer import Reconstruction, Tokenizer

from ..alignment.losses import ALIGNMENTS, Alignments
from ..alignment.teachers import Teacher
from ..processes import Processes
from ..recipe.schema import Recipe
from ..shapes import branches_of, latent_grid
from .disentanglement import disentanglement
from .entropy import entropy_loss
from .names import active


class AuxiliaryLosses:
    """The losses vq/entropy, vq/disentanglement and align/* of a run, and the heads they train.

    `teachers`, by loss, replace those that the recipe names. Raises InputError if one cannot be loaded.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Tokenizer,
        processes: Processes,
        teachers: Mapping[str, Teacher] | None = None,
    ) -> None:
        self.recipe, self.model, self.processes = recipe, model, processes
        self.names = active(recipe.losses)
        self.grid = latent_grid(model, recipe.data.crop)
        if "vq/entropy" in self.names:
            model.quantizer.want_entropy()
        self.alignments: Alignments | None = None
        if self.names & set(ALIGNMENTS):
            like = branches_of(torch.zeros(1, model.channels, *self.grid), recipe.tokenizer)
            widths = {loss: like[recipe.align.of(loss).branch].shape for loss in self.names & set(ALIGNMENTS)}
            self.alignments = Alignments(
                recipe.align, widths, processes.device, teachers, getattr(model.encoder, "to_latent", None)
            )

    def parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the heads."""
        return [] if self.alignments is None else list(self.alignments.parameters())

    def losses(self, result: Reconstruction, x: Tensor, progress: float) -> dict[str, Tensor]:
        """Unweighted scalars by `group/name` for the target x [B, 3, H, W]; `progress` 0..1 through the run."""
        if result.z_q is None or not result.indices:
            return {}
        losses = {}
        with torch.autocast(x.device.type, enabled=False):
            if "vq/entropy" in self.names:
                losses["vq/entropy"] = entropy_loss(result, self.model)
            if "vq/disentanglement" in self.names:
                losses["vq/disentanglement"] = disentanglement(branches_of(result.z_q, self.recipe.tokenizer))
        if self.alignments is not None:
            branches = branches_of(result.z_q, self.recipe.tokenizer)
            losses |= self.alignments(branches, x, progress, whole_samples(result))
        return losses

    def synchronize(self) -> None:
        """Mean over the processes of the heads' gradients, once the last batch of a step has filled them."""
        if self.processes.num_processes > 1:
            for value in self.parameters():
                if value.grad is not None:
                    value.grad = self.processes.reduce(value.grad, "mean")

    def state_dict(self) -> dict[str, Any]:
        """State of the heads, which the next step depends on."""
        return {} if self.alignments is None else {"alignments": self.alignments.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Raises InputError if it is of other alignments."""
        if self.alignments is None:
            return
        try:
            self.alignments.load_state_dict(state["alignments"])
        except (RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(f"the checkpoint holds other alignments than recipe.align: {reason}") from error


def whole_samples(result: Reconstruction) -> Tensor | None:
    """[B] bool: samples with all stages of the quantizer; None if it leaves out none."""
    return None if result.kept is None else (result.kept > 0.999).flatten(1).all(1)
