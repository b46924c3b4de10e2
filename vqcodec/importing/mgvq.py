"""MGVQ's released tokenizers: their configurations, and their tensors under our names.

A released state dict (`checkpoint["model"]`) is checked whole: every key that should be there is, with its shape, and
no other. Two buffers that only training uses are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..config.model import DcaeConfig, ProductVQConfig, TokenizerConfig
from ..errors import ModelError
from .matching import Source, matched, needed, single

CODEBOOKS = "quantizer.bank.codebooks"
SKIPPED = (r"quantize\.(codebook_used|embed_prob)$",)
"""Which codewords the last batches used, and how often each was: never needed to encode or decode."""

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
"""Its attention is over the whole picture: the largest part that it sees at once of pictures beyond a megapixel, for
memory alone, and how far ours overlap. Pixels."""


def _release(stride: int, backbone: DcaeConfig, quantizer: ProductVQConfig) -> TokenizerConfig:
    return TokenizerConfig(stride, backbone, quantizer, compute_window=COMPUTE_WINDOW, compute_overlap=COMPUTE_OVERLAP)


RELEASES: dict[str, TokenizerConfig] = {
    "mgvq-f8c32-g4": _release(8, _F8, _G4),
    "mgvq-f8c32-g8": _release(8, _F8, _G8),
    "mgvq-f16c32-g4": _release(16, _F16, _G4),
    "mgvq-f16c32-g8": _release(16, _F16, _G8),
    "mgvq-f32c32-g8": _release(32, _F32, _G8),
}
"""By published name."""
RELEASES |= {f"{name}-mix": RELEASES[name] for name in ("mgvq-f16c32-g4", "mgvq-f32c32-g8")}
# Of these the weights alone are others: they were trained on more pictures.

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
    """What the release calls our tensor `name`.

    Its stages count from 1, and each holds its change of size as one more block: the encoder's behind its blocks, the
    decoder's before them.
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
    """Where the release has each of our tensors."""
    backbone = config.backbone
    if not isinstance(backbone, DcaeConfig):
        raise ModelError(f"released checkpoint: MGVQ's backbone is dcae, not {backbone.kind}")
    found = {name: single(released_name(name, backbone), value) for name, value in ours.items()}
    groups, size, dim = ours[CODEBOOKS].shape
    return found | {CODEBOOKS: Source((_ENDS[CODEBOOKS],), (groups * size, dim))}


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors a shipped model holds, from a released state dict; nothing is copied.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
