"""XQ-GAN's released tokenizers: configurations, and the map of tensor names.

Branches of the released product quantizer are consecutive parts of the token sequence. Here they are groups of channels
of one grid, which is the input of the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import structs
from torch import Tensor

from ..config.backbones import VitConfig, VqganConfig
from ..config.model import TokenizerConfig
from ..config.quantizers import BinaryConfig, MultiScaleConfig, ProductVQConfig, SplitConfig, VQConfig
from ..errors import ModelError
from . import vit_names, vqgan_names
from .matching import Source, matched, needed, single

SKIPPED = (r"semantic_model\.", r"(en|de)coder\.lvl1LC$", r"quantizes?\.(\d+\.)?(ema_vocab_hit_SV|scaler)$")
"""Tensors that are not needed: the frozen network of the alignment loss, the part number of each token, usage counters
of codewords, and the constant scale 1 of binary codes."""
WINDOW, OVERLAP = 256, 32
"""Side of the only input that the networks accept, and overlap of neighbouring windows in larger pictures; pixels."""
SCALES = (1, 1, 2, 3, 3, 4, 5, 6, 8, 11)
"""Sides of the grids of the multi-scale quantizer, in tokens."""


def _vq(size: int, dim: int, branches: int = 1) -> TokenizerConfig:
    quantizer = ProductVQConfig(branches, size, dim, normalised=True, fill="zero")
    return TokenizerConfig(16, VitConfig(branches=branches), quantizer, WINDOW, OVERLAP)


def _multi_scale(code: VQConfig | BinaryConfig) -> TokenizerConfig:
    quantizer = SplitConfig(2, MultiScaleConfig(SCALES, code, dropout=0.1, dropout_start=3))
    return TokenizerConfig(16, VitConfig(branches=2, tokens=121), quantizer, WINDOW, OVERLAP)


RELEASES: dict[str, TokenizerConfig] = {
    "xqgan-vq-4096": _vq(4096, 64),
    "xqgan-vq-8192": _vq(8192, 32),
    "xqgan-robusttok": _vq(4096, 64),
    "xqgan-vp2-4096": _vq(4096, 32, 2),
    "xqgan-vp2-16384": _vq(16384, 32, 2),
    **{f"xqgan-msvr10p2-{size}": _multi_scale(VQConfig(size, 32, "cosine")) for size in (4096, 8192, 16384)},
    **{f"xqgan-msbr10p2-{2**bits}": _multi_scale(BinaryConfig(bits, spherical=True)) for bits in (12, 14)},
    "xqgan-cnn-16384": structs.replace(_vq(16384, 8), backbone=VqganConfig()),
}


def sources(config: TokenizerConfig, ours: Mapping[str, Tensor]) -> dict[str, Source]:
    """Map each tensor of the codec to its source in the release. Raises ModelError for another backbone."""
    return {name: _source(name, value, config) for name, value in ours.items()}


def _source(name: str, value: Tensor, config: TokenizerConfig) -> Source:
    backbone = config.backbone
    if name.startswith("quantizer."):
        return _quantizer_source(name, value)
    if isinstance(backbone, VqganConfig):
        return single(vqgan_names.released_name(name, backbone), value)
    if not isinstance(backbone, VitConfig):
        raise ModelError(f"released checkpoint: XQ-GAN's backbone is vit or vqgan, not {backbone.kind}")
    key = vit_names.released_name(name)
    # The released layer is a 1 x 1 convolution, here a linear layer on tokens, with the same values.
    one = (1, 1) if key in ("quant_conv.weight", "post_quant_conv.weight") else ()
    return Source((key,), (*value.shape, *one))


def _quantizer_source(name: str, value: Tensor) -> Source:
    """Source of a quantizer's tensor; releases number the branches only if there are several."""
    found = re.fullmatch(r"quantizer\.(?:parts\.(\d+)\.)?(.+)", name)
    branch, rest = found.groups() if found else (None, name)
    start = "quantize" if branch is None else f"quantizes.{branch}"
    if rest.endswith("bank.codebooks"):
        starts = [start] if len(value) == 1 else [f"quantizes.{group}" for group in range(len(value))]
        return Source(tuple(f"{each}.embedding.weight" for each in starts), tuple(value.shape[1:]))
    return single(f"{start}.{rest.replace('mends.', 'quant_resi.qresi_ls.')}", value)


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a released state dict to the tensors of a model file.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
