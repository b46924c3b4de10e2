"""Names of the tokenizer's losses, `group/name`, and their weights at a step.

Recipes, code and logs of tokenizers use these names. Models with a quantization step (train/stepped) do not: their
recipes have the tables `loss` and `rate` instead, and their logs one `loss` with its parts.
"""

from __future__ import annotations

from collections.abc import Mapping

LOSSES = (
    "rec/rmse",
    "rec/l2",
    "rec/charbonnier",
    "rec/ms-ssim",
    "rec/lpips",
    "gan/generator",
    "vq/commitment",
    "vq/codebook",
    "vq/entropy",
    "vq/disentanglement",
    "align/semantic",
    "align/middle",
    "align/detail",
    "rate/bits",
)
"""Every loss by its `group/name`: the key in recipes, code and logs."""


def active(weights: Mapping[str, float]) -> set[str]:
    """Names of the losses with a weight other than 0; a weight of 0 removes a base recipe's loss."""
    return {name for name, weight in weights.items() if weight != 0}


def weights_at(weights: Mapping[str, float], warmup: Mapping[str, float], step: int) -> dict[str, float]:
    """Weights at `step`: those named in `warmup` rise linearly from 0 over that number of steps."""
    return {
        name: weight * min(1.0, step / warmup[name]) if warmup.get(name) else weight for name, weight in weights.items()
    }
