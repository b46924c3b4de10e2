"""Optimizers by name: AdamW of torch, SOAP and Muon of the package pytorch-optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vqcodec.errors import UsageError

from .recipe import OptimizerRecipe


def make_optimizer(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """An optimizer of all parameters that are trained; each group's learning rate at full height is its `base_lr`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            rate = recipe.context_lr if name.startswith("context.") else recipe.lr
            groups.setdefault(rate, []).append(value)
    settings: list[dict[str, Any]] = [
        {"params": values, "lr": rate, "base_lr": rate} for rate, values in groups.items()
    ]
    if recipe.kind == "adamw":
        return torch.optim.AdamW(settings, betas=(0.9, 0.99), weight_decay=0.0)
    try:
        from pytorch_optimizer.optimizer.muon import Muon
        from pytorch_optimizer.optimizer.soap import SOAP
    except ModuleNotFoundError as error:
        raise UsageError(f"optimizer.kind '{recipe.kind}' needs a package: pip install pytorch-optimizer") from error
    if recipe.kind == "soap":
        soap: torch.optim.Optimizer = SOAP(settings, weight_decay=0.0, precondition_frequency=10)
        return soap
    for group in settings:
        # Orthogonalisation is for matrices; biases and scales use AdamW.
        group["use_muon"] = False
    matrices = [group | {"params": [v for v in group["params"] if v.ndim >= 2], "use_muon": True} for group in settings]
    vectors = [group | {"params": [v for v in group["params"] if v.ndim < 2]} for group in settings]
    muon: torch.optim.Optimizer = Muon([g for g in (*matrices, *vectors) if g["params"]])
    return muon
