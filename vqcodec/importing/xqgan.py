"""XQ-GAN's released tokenizers: their configurations, and their tensors under our names.

Branches of its product quantizer are consecutive parts of the latent tokens; here they are groups of channels of one
grid, which is what its decoder sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import structs
from torch import Tensor

from ..config.backbones import VitConfig, VqganConfig
from ..config.model import ProductVQConfig, TokenizerConfig
from ..config.quantizers import BinaryConfig, MultiScaleConfig, SplitConfig, VQConfig
from ..errors import ModelError
from . import vit_names, vqgan_names
from .matching import Source, matched, needed, single

SKIPPED = (r"semantic_model\.", r"(en|de)coder\.lvl1LC$", r"quantizes?\.(\d+\.)?(ema_vocab_hit_SV|scaler)$")
"""The frozen network that training aligned features with, which part of a sequence a token belongs to, how often
codewords were used, and the constant 1 that scales binary codes."""
WINDOW, OVERLAP = 256, 32
"""Its networks know pictures of this side alone; how far ours overlap where a picture needs several. Pixels."""
SCALES = (1, 1, 2, 3, 3, 4, 5, 6, 8, 11)


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
    """Where the release has each of our tensors."""
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
    # Upstream a grid, here a sequence of tokens: the same numbers.
    one = (1, 1) if key in ("quant_conv.weight", "post_quant_conv.weight") else ()
    return Source((key,), (*value.shape, *one))


def _quantizer_source(name: str, value: Tensor) -> Source:
    """The release counts the branches of a quantizer where there are several."""
    found = re.fullmatch(r"quantizer\.(?:parts\.(\d+)\.)?(.+)", name)
    branch, rest = found.groups() if found else (None, name)
    start = "quantize" if branch is None else f"quantizes.{branch}"
    if rest.endswith("bank.codebooks"):
        starts = [start] if len(value) == 1 else [f"quantizes.{group}" for group in range(len(value))]
        return Source(tuple(f"{each}.embedding.weight" for each in starts), tuple(value.shape[1:]))
    return single(f"{start}.{rest.replace('mends.', 'quant_resi.qresi_ls.')}", value)


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors a shipped model holds, from a released state dict.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
