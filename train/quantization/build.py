"""Choice of the codebook training for a quantizer."""

from __future__ import annotations

from accelerate import Accelerator

from vqcodec.config.quantizers import ProductVQConfig, has_codes
from vqcodec.tokenizer import Tokenizer

from ..recipe.schema import Recipe
from .base import CodebookTraining
from .product_codebooks import ProductCodebooks
from .single_codebooks import SingleCodebooks


def make_codebooks(recipe: Recipe, model: Tokenizer, accelerator: Accelerator) -> CodebookTraining:
    """The training of the codebooks in the quantizer of `model`."""
    if isinstance(recipe.tokenizer.quantizer, ProductVQConfig):
        return ProductCodebooks(recipe, model, accelerator)
    if has_codes(recipe.tokenizer.quantizer):
        return SingleCodebooks(recipe, model, accelerator)
    return CodebookTraining()
