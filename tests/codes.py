"""Configurations of every kind of quantizer except UniformConfig, and quantizers made of them.

UniformConfig needs the quantization step of a file; tests/stepped.py has a model with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcodec.config.quantizers import (
    BinaryConfig,
    FSQConfig,
    GMMVQConfig,
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
    VQConfig,
)
from vqcodec.quantizers.build import build_quantizer

VQ = VQConfig(16, 4, "cosine")


EVERY: tuple[QuantizerConfig, ...] = (
    ProductVQConfig(3, 8, 2),
    VQConfig(16, 4),
    VQConfig(16, 4, "unit"),
    VQ,
    BinaryConfig(5),
    BinaryConfig(5, spherical=True),
    FSQConfig((2, 3, 4, 5)),
    ResidualConfig(3, VQConfig(8, 4)),
    ResidualConfig(3, VQ, shared=True),
    ResidualConfig(4, BinaryConfig(3, spherical=True, scale=0.5)),
    ResidualConfig(20, FSQConfig((4, 5))),
    MultiScaleConfig((1, 2, 4), VQ),
    MultiScaleConfig((1, 2, 3, 4), BinaryConfig(4), convolutions=2),
    MultiScaleConfig((2, 4), FSQConfig((3, 3)), convolutions=0),
    SplitConfig(2, VQConfig(16, 3, "unit")),
    SplitConfig(3, ResidualConfig(2, BinaryConfig(2, scale=0.5))),
    SplitConfig(2, MultiScaleConfig((1, 2, 4), VQ)),
    SplitConfig(2, VQ, over="tokens"),
    SoftVQConfig(16, 4, segments=2),
    SoftVQConfig(16, 4, normalised=False, terms=1),
    GMMVQConfig(16, 4, terms=3),
    SplitConfig(2, SoftVQConfig(16, 4, terms=2)),
    SplitConfig(2, SoftVQConfig(16, 4, terms=3), over="tokens"),
    ResidualConfig(2, SoftVQConfig(16, 4, normalised=False, terms=2)),
    ResidualConfig(3, GMMVQConfig(16, 4, terms=6), shared=True),
)


def name(config: QuantizerConfig) -> str:
    inner = getattr(config, "base", getattr(config, "part", None))
    return config.kind if inner is None else f"{config.kind}-{inner.kind}"


def built(config: QuantizerConfig, seed: int = 0, grid: tuple[int, ...] = (4, 4)) -> tuple[Any, Tensor]:
    torch.manual_seed(seed)
    quantizer: Any = build_quantizer(config, "gradient").eval()
    if isinstance(config, SplitConfig):
        quantizer.window_grid = grid
    return quantizer, torch.randn(2, config.channels, *grid)
