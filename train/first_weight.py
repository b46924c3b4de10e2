"""Weight of the most likely codeword of a mixture, measured at export (vqcodec/quantizers/soft.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from msgspec import structs
from torch import Tensor

from vqcodec.config.model import TokenizerConfig
from vqcodec.config.quantizers import mixtures_of, with_first_weight
from vqcodec.models.registry import find
from vqcodec.quantizers.soft import SoftVQ, measured_weight
from vqcodec.tokenizer import Tokenizer, to_unit

from .data.pictures import Pictures, scan
from .recipe.schema import Recipe
from .validate import tiles

PICTURES = 64
"""Pictures that it is measured on, at most."""


def measured_config(
    tokenizer: Tokenizer, recipe: Recipe, data: tuple[str, ...], prior: str, report: Callable[[str], object]
) -> TokenizerConfig:
    """Configuration of the recipe's tokenizer with the best first weight of its mixtures, which `tokenizer` gets too.

    A weight set by the recipe is kept, and so is a quantizer without mixtures; with a `prior` the weight is that of the
    prior's model, which has the same tokens.
    """
    config = recipe.tokenizer
    mixtures = mixtures_of(config.quantizer)
    if mixtures is None or mixtures.first_weight != 1:
        return config
    if prior:
        known = mixtures_of(find(prior).config.tokenizer.quantizer)
        weight = 1.0 if known is None else known.first_weight
    else:
        pictures = scan(data or recipe.data.train, config.window_px or config.stride, recipe.data.index)
        weight = measured_weight(tokenizer.quantizer, _latents(tokenizer, pictures))
        report(f"weight of the first codeword: {weight}")
    for module in tokenizer.quantizer.modules():
        if isinstance(module, SoftVQ):
            module.first_weight = weight
    return structs.replace(config, quantizer=with_first_weight(config.quantizer, weight))


@torch.no_grad()
def _latents(tokenizer: Tokenizer, pictures: Pictures) -> Iterator[Tensor]:
    """[1, D, *] of each tile of evenly spaced pictures."""
    members = pictures.members[:: max(1, len(pictures.members) // PICTURES)][:PICTURES]
    for pixels in pictures.decoded(members):
        for part in tiles(pixels, tokenizer.stride, tokenizer.config.window_px):
            yield tokenizer.encoder(to_unit(part[None])).float()
