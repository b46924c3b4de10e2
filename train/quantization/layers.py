"""Layers of the model that a run exports: the steps in which a file can leave planes out, coarse to fine.

A layer is a step only if training has seen the layers before it without it. So the layers depend on the recipe's masks,
not on the quantizer alone (vqcodec.config.single).
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from vqcodec.config.model import ProductVQConfig
from vqcodec.planes import Layers

from ..recipe.schema import Recipe


def file_layers(recipe: Recipe) -> Layers:
    """Planes of each layer: as `export.layers` says, or those of the quantizer.

    Groups that training never leaves out are one layer, as in imported models (FQGAN; XQ-GAN's branches); refinements
    are a second one, since what they add to the latent may be missing.
    """
    quantizer = recipe.tokenizer.quantizer
    if recipe.export.layers:
        ends = (0, *accumulate(recipe.export.layers))
    elif isinstance(quantizer, ProductVQConfig) and not recipe.masking.leaves_out:
        ends = tuple(dict.fromkeys((0, quantizer.groups, len(quantizer.sizes))))
    else:
        return quantizer.layers
    return tuple(tuple(range(a, b)) for a, b in pairwise(ends))
