"""Quantizers of a tokenizer by their class, where the rules of the recipe guarantee it."""

from __future__ import annotations

from typing import cast

from vqcodec.quantizers.product import ProductVQ
from vqcodec.quantizers.uniform import Uniform
from vqcodec.tokenizer import Tokenizer


def product_of(tokenizer: Tokenizer) -> ProductVQ:
    """Quantizer of a tokenizer with product-vq."""
    return cast(ProductVQ, tokenizer.quantizer)


def uniform_of(tokenizer: Tokenizer) -> Uniform:
    """Quantizer of a tokenizer with a quantization step."""
    return cast(Uniform, tokenizer.quantizer)
