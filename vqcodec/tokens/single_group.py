"""Tokens of one group of codewords alone: the other groups are MISSING (FQGAN, figure 3).

The decoder's fill, learned or zero, takes the place of the other groups. Published models were not trained for this, so
the picture shows what a group represents, no more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..config.model import ModelConfig
from ..config.quantizers import ProductVQConfig, SplitConfig
from ..errors import UsageError
from ..planes import MISSING
from .tokens import Tokens


def group_planes(config: ModelConfig, group: int) -> tuple[int, ...]:
    """The planes of group (branch, part) 1..G of a model; residual planes across groups belong to none.

    Raises UsageError for models of one group, and outside 1..G.
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
    """`tokens` with the planes of all groups but one, 1..G, MISSING.

    Raises UsageError for a group that the model does not have, or that is in none of the layers held.
    """
    planes = group_planes(config, group)
    held = {s for layer in tokens.layers for s in layer}
    if not held & set(planes):
        raise UsageError(f"only group {group}: not in the {tokens.n_layers} layers of the file; decode a complete file")
    alone = tuple(p if s in planes else np.full_like(p, MISSING) for s, p in enumerate(tokens.planes))
    return replace(tokens, planes=alone)
