"""Layers of the exported model: the groups of planes, coarse to fine, that a file can leave out.

A decoder works without a layer only if training masked it. The layers therefore depend on the recipe's masks, not on
the quantizer alone.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.planes import Layers

from .recipe.schema import Recipe


def file_layers(recipe: Recipe) -> Layers:
    """Planes of each layer: by `export.layers`, or those of the quantizer.

    Groups that training never masks are one layer, as in imported models (FQGAN; XQ-GAN's branches); refinements are a
    second one, since the latent is valid without them.
    """
    quantizer = recipe.tokenizer.quantizer
    if recipe.export.layers:
        ends = (0, *accumulate(recipe.export.layers))
    elif isinstance(quantizer, ProductVQConfig) and not recipe.masking.leaves_out:
        ends = tuple(dict.fromkeys((0, quantizer.groups, len(quantizer.sizes))))
    else:
        return quantizer.layers
    return tuple(tuple(range(a, b)) for a, b in pairwise(ends))
