"""MGVQ's released tokenizers: configurations, and the map of tensor names.

All keys and shapes of a released state dict (`checkpoint["model"]`) are checked; two buffers that only training needs
are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..config.model import DcaeConfig, TokenizerConfig
from ..config.quantizers import ProductVQConfig
from ..errors import ModelError
from .matching import Source, matched, needed, single

CODEBOOKS = "quantizer.bank.codebooks"
SKIPPED = (r"quantize\.(codebook_used|embed_prob)$",)
"""Usage counters of codewords, for training only."""

_F8 = DcaeConfig(
    widths=(256, 512, 512),
    encoder_depths=(4, 8, 2),
    decoder_depths=(5, 10, 2),
    blocks=("residual", "residual", "attention"),
    encoder_norms=("rms",) * 3,
    encoder_acts=("silu",) * 3,
    decoder_norms=("batch", "batch", "rms"),
    decoder_acts=("relu", "relu", "silu"),
)
_F16 = DcaeConfig()
_F32 = DcaeConfig(
    widths=(256, 512, 512, 1024, 1024),
    encoder_depths=(4, 8, 2, 2, 2),
    decoder_depths=(5, 10, 2, 2, 2),
    blocks=("residual", "residual", "attention", "attention", "attention"),
    encoder_norms=("rms",) * 5,
    encoder_acts=("silu",) * 5,
    decoder_norms=("batch", "batch", "rms", "rms", "rms"),
    decoder_acts=("relu", "relu", "silu", "silu", "silu"),
)
_G4 = ProductVQConfig(groups=4, codebook_size=8192, dim=8, normalised=True, fill="zero")
_G8 = ProductVQConfig(groups=8, codebook_size=2048, dim=4, normalised=True, fill="zero")

COMPUTE_WINDOW, COMPUTE_OVERLAP = 1024, 64
"""Side and overlap of compute windows, pixels. MGVQ's attention covers the whole picture; windows bound the memory for
pictures beyond a megapixel."""


def _release(stride: int, backbone: DcaeConfig, quantizer: ProductVQConfig) -> TokenizerConfig:
    return TokenizerConfig(stride, backbone, quantizer, compute_window=COMPUTE_WINDOW, compute_overlap=COMPUTE_OVERLAP)


RELEASES: dict[str, TokenizerConfig] = {
    "mgvq-f8c32-g4": _release(8, _F8, _G4),
    "mgvq-f8c32-g8": _release(8, _F8, _G8),
    "mgvq-f16c32-g4": _release(16, _F16, _G4),
    "mgvq-f16c32-g8": _release(16, _F16, _G8),
    "mgvq-f32c32-g8": _release(32, _F32, _G8),
}
"""Published name -> configuration."""
RELEASES |= {f"{name}-mix": RELEASES[name] for name in ("mgvq-f16c32-g4", "mgvq-f32c32-g8")}
# Same architecture, weights trained on a larger mixture of data sets.

_BLOCK = (
    (r"^(conv[12])\.", r"main.\1.conv."),
    (r"^norm\.", "main.conv2.norm."),
    (r"^attention\.qkv\.", "context_module.main.qkv.conv."),
    (r"^attention\.project\.", "context_module.main.proj.conv."),
    (r"^attention\.norm\.", "context_module.main.proj.norm."),
    (r"^gated\.expand\.", "local_module.main.inverted_conv.conv."),
    (r"^gated\.depthwise\.", "local_module.main.depth_conv.conv."),
    (r"^gated\.project\.", "local_module.main.point_conv.conv."),
    (r"^gated\.norm\.", "local_module.main.point_conv.norm."),
)
_ENDS = {
    "encoder.stem.": "encoder.project_in.conv.conv.",
    "encoder.head.conv.": "encoder.project_out.main.op_list.0.conv.",
    "encoder.to_latent.": "quant_conv.",
    "decoder.from_latent.": "post_quant_conv.",
    "decoder.head.conv.": "decoder.project_in.main.conv.",
    "decoder.norm.": "decoder.project_out.op_list.0.",
    "decoder.tail.": "decoder.project_out.op_list.2.conv.conv.",
    CODEBOOKS: "quantize.embedding.weight",
}


def released_name(name: str, config: DcaeConfig) -> str:
    """Released name of the codec's tensor `name`.

    Released stages are numbered from 1. Downsampling is the last block of an encoder stage, upsampling the first block
    of a decoder stage.
    """
    for ours, theirs in _ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    side, kind, number, rest = name.split(".", 3)
    stage = int(number)
    start = f"{side}.stages.{stage + 1}.op_list"
    if kind == "downs":
        return f"{start}.{config.encoder_depths[stage]}.main.conv.{rest}"
    if kind == "ups":
        return f"{start}.0.main.conv.{rest}"
    position, inner = rest.split(".", 1)
    before = int(side == "decoder" and stage < len(config.widths) - 1)
    for pattern, replacement in _BLOCK:
        inner = re.sub(pattern, replacement, inner)
    return f"{start}.{int(position) + before}.{inner}"


def sources(config: TokenizerConfig, ours: Mapping[str, Tensor]) -> dict[str, Source]:
    """Map each tensor of the codec to its source in the release. Raises ModelError for another backbone."""
    backbone = config.backbone
    if not isinstance(backbone, DcaeConfig):
        raise ModelError(f"released checkpoint: MGVQ's backbone is dcae, not {backbone.kind}")
    found = {name: single(released_name(name, backbone), value) for name, value in ours.items()}
    groups, size, dim = ours[CODEBOOKS].shape
    return found | {CODEBOOKS: Source((_ENDS[CODEBOOKS],), (groups * size, dim))}


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a released state dict to the tensors of a model file; nothing is copied.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
