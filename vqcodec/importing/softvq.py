"""SoftVQ-VAE's released tokenizers: their configurations, and their tensors under our names.

One release has a published configuration; the sizes of the others are what their names say.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..config.backbones import VitConfig
from ..config.model import TokenizerConfig
from ..config.quantizers import SoftVQConfig
from ..errors import ModelError
from . import vit_names
from .matching import Source, matched, needed, single

SKIPPED = (
    r"repa_model\.",
    r"projection\.",
    r"quantize\.codebook_used$",
    r"decoder\.model\.patch_embed\.",
)
"""The frozen network that training aligned tokens with and the projection to its features, which codewords the last
batches used, and a layer of the decoder that nothing goes through."""
WINDOW, OVERLAP = 256, 32
"""Its networks know pictures of this side alone, or of twice this side; how far ours overlap where a picture needs
several, an eighth of them. Pixels."""
SIZES = {"s": (384, 12), "b": (768, 12), "l": (1024, 24)}
"""Width and depth of the networks, as DINOv2 calls them."""


def _release(encoder: str, decoder: str, tokens: int, window: int = WINDOW) -> TokenizerConfig:
    (width, depth), (decoder_width, decoder_depth) = SIZES[encoder], SIZES[decoder]
    backbone = VitConfig(
        width, decoder_width, depth, decoder_depth, tokens=tokens, positions="learned", layout="line", window=window
    )
    return TokenizerConfig(16, backbone, SoftVQConfig(8192, 32, segments=4), window, window * OVERLAP // WINDOW)


RELEASES: dict[str, TokenizerConfig] = {
    "softvq-l-64": _release("l", "l", 64),
    "softvq-bl-64": _release("b", "l", 64),
    "softvq-b-64": _release("b", "b", 64),
    "softvq-l-32": _release("l", "l", 32),
    "softvq-bl-32": _release("b", "l", 32),
    "softvq-b-32": _release("b", "b", 32),
    "softvq-bl-64-512": _release("b", "l", 64, 512),
    "softvq-l-32-512": _release("l", "l", 32, 512),
}


def sources(config: TokenizerConfig, ours: Mapping[str, Tensor]) -> dict[str, Source]:
    """Where the release has each of our tensors."""
    if not isinstance(config.backbone, VitConfig):
        raise ModelError(f"released checkpoint: SoftVQ-VAE's backbone is vit, not {config.backbone.kind}")
    return {
        name: single("quantize.embedding" if name == "quantizer.codebooks" else vit_names.released_name(name), value)
        for name, value in ours.items()
    }


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors a shipped model holds, from a released state dict.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
