"""Reconstruction from one sub-codebook alone: all groups but one are missing (FQGAN, figure 3).

Differs from `keep`, which shows the first layers: a group may be any of them, and what stands for the others is zero,
or the model's learned fill. Released models were not trained for it; the picture shows what a sub-codebook stands for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..config.model import ModelConfig, ProductVQConfig
from ..config.quantizers import SplitConfig
from ..errors import UsageError
from ..planes import MISSING
from .tokens import Tokens


def group_planes(config: ModelConfig, group: int) -> tuple[int, ...]:
    """The planes of group (branch, part) 1..G of a model; a refinement of several groups belongs to none.

    Raises UsageError where a model has one group only, and beyond 1..G.
    """
    quantizer = config.tokenizer.quantizer
    groups: list[tuple[int, ...]]
    match quantizer:
        case ProductVQConfig():
            groups = [(g,) for g in range(quantizer.groups)]
        case SplitConfig():
            groups = [
                tuple(i for i, (p, _) in enumerate(quantizer.order) if p == part) for part in range(quantizer.parts)
            ]
        case _:
            groups = []
    if len(groups) < 2:
        raise UsageError(f"only group {group}: model '{config.name}' has one group of codewords; leave it out")
    if not 1 <= group <= len(groups):
        raise UsageError(f"only group {group}: model '{config.name}' has {len(groups)} groups; give 1..{len(groups)}")
    return groups[group - 1]


def only_group(tokens: Tokens, config: ModelConfig, group: int) -> Tokens:
    """`tokens` with group 1..G alone, the planes of all others MISSING.

    Raises UsageError for a group that the model does not have, or that is in none of the layers at hand.
    """
    planes = group_planes(config, group)
    shown = {s for layer in tokens.layers for s in layer}
    if not shown & set(planes):
        raise UsageError(f"only group {group}: not in the {tokens.n_layers} layers of the file; decode a complete file")
    hidden = tuple(p if s in planes else np.full_like(p, MISSING) for s, p in enumerate(tokens.planes))
    return replace(tokens, planes=hidden)
