"""XQ-GAN's released tokenizers: their configurations, and their tensors under our names.

Branches of its product quantizer are consecutive parts of the latent tokens; here they are groups of channels of one
grid, which is what its decoder sees.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..backbone_config import VitConfig, VqganConfig
from ..config import ProductVQConfig, TokenizerConfig
from ..errors import ModelError
from . import vit_names, vqgan_names
from .matching import Source, matched, needed, single

CODEBOOKS = "quantizer.bank.codebooks"
SKIPPED = (r"semantic_model\.", r"(en|de)coder\.lvl1LC$", r"quantizes?\.(\d+\.)?(ema_vocab_hit_SV|scaler)$")
"""The frozen network that training aligned features with, which part of a sequence a token belongs to, how often
codewords were used, and the constant 1 that scales binary codes."""


def _vq(size: int, dim: int, branches: int = 1) -> TokenizerConfig:
    quantizer = ProductVQConfig(branches, size, dim, normalised=True, fill="zero")
    return TokenizerConfig(16, VitConfig(branches=branches), quantizer)


RELEASES: dict[str, TokenizerConfig] = {
    "xqgan-vq-4096": _vq(4096, 64),
    "xqgan-vq-8192": _vq(8192, 32),
    "xqgan-vp2-4096": _vq(4096, 32, 2),
    "xqgan-vp2-16384": _vq(16384, 32, 2),
    "xqgan-cnn-16384": TokenizerConfig(16, VqganConfig(), ProductVQConfig(1, 16384, 8, normalised=True, fill="zero")),
}


def sources(config: TokenizerConfig, ours: Mapping[str, Tensor]) -> dict[str, Source]:
    """Where the release has each of our tensors."""
    backbone, groups = config.backbone, config.quantizer.groups
    found: dict[str, Source] = {}
    for name, value in ours.items():
        if name == CODEBOOKS:
            parts = ("quantize",) if groups == 1 else tuple(f"quantizes.{group}" for group in range(groups))
            found[name] = Source(tuple(f"{part}.embedding.weight" for part in parts), tuple(value.shape[1:]))
        elif isinstance(backbone, VitConfig):
            key = vit_names.released_name(name)
            # Upstream a grid, here a sequence of tokens: the same numbers.
            one = (1, 1) if key in ("quant_conv.weight", "post_quant_conv.weight") else ()
            found[name] = Source((key,), (*value.shape, *one))
        elif isinstance(backbone, VqganConfig):
            found[name] = single(vqgan_names.released_name(name, backbone), value)
        else:
            raise ModelError(f"released checkpoint: XQ-GAN's backbone is vit or vqgan, not {backbone.kind}")
    return found


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors a shipped model holds, from a released state dict.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
