"""Construction of a quantizer from its configuration."""

from __future__ import annotations

from typing import assert_never

from ..config.quantizers import (
    BinaryConfig,
    CodeConfig,
    FSQConfig,
    GMMVQConfig,
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
    UniformConfig,
    VQConfig,
)
from .base import Quantizer
from .binary import Binary
from .finite_scalar import FSQ
from .multiscale import MultiScale
from .product import ProductVQ
from .residual import make_residual
from .single import VQ, Code
from .soft import GMMVQ, SoftVQ
from .soft_residual import SoftResidual
from .split import Split
from .uniform import Uniform


def build_quantizer(config: QuantizerConfig, learning: str = "ema") -> Quantizer:
    """Build a quantizer. `learning` of its codebooks is "ema" or "gradient"; mixtures always learn by gradient."""
    match config:
        case ProductVQConfig():
            return ProductVQ(config, learning)
        case ResidualConfig():
            base = config.base
            if isinstance(base, SoftVQConfig):
                return SoftResidual(config, lambda: build_soft(base))
            return make_residual(config, lambda: build_code(base, learning))
        case MultiScaleConfig():
            return MultiScale(config, build_code(config.base, learning))
        case SplitConfig():
            return Split(config, lambda: build_quantizer(config.part, learning))
        case UniformConfig():
            return Uniform(config)
        case SoftVQConfig():
            return build_soft(config)
        case VQConfig() | BinaryConfig() | FSQConfig():
            return build_code(config, learning)
        case _:
            assert_never(config)


def build_soft(config: SoftVQConfig) -> SoftVQ:
    """Build a quantizer of mixtures."""
    return GMMVQ(config) if isinstance(config, GMMVQConfig) else SoftVQ(config)


def build_code(config: CodeConfig, learning: str = "ema") -> Code:
    """Build a quantizer of one plane."""
    match config:
        case VQConfig():
            return VQ(config, learning)
        case BinaryConfig():
            return Binary(config)
        case FSQConfig():
            return FSQ(config)
        case _:
            assert_never(config)
