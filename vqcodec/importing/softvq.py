"""SoftVQ-VAE's released tokenizers: configurations, and the map of tensor names.

One release has a published configuration; the sizes of the others follow from their names.
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
"""Tensors for training only: the frozen network of the alignment loss, the projection to its features, the usage
counters of codewords, and a layer of the decoder that is never applied."""
WINDOW, OVERLAP = 256, 32
"""Side of the input of most releases (512 for the others), and overlap of neighbouring windows in larger pictures, an
eighth of the side; pixels."""
SIZES = {"s": (384, 12), "b": (768, 12), "l": (1024, 24)}
"""Width and depth of the networks by DINOv2's letters for sizes."""


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
    """Map each tensor of the codec to its source in the release. Raises ModelError for another backbone."""
    if not isinstance(config.backbone, VitConfig):
        raise ModelError(f"released checkpoint: SoftVQ-VAE's backbone is vit, not {config.backbone.kind}")
    return {
        name: single("quantize.embedding" if name == "quantizer.codebooks" else vit_names.released_name(name), value)
        for name, value in ours.items()
    }


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a released state dict to the tensors of a model file.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
