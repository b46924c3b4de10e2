"""Tensor names of the backbone `vit` in the releases of XQ-GAN and SoftVQ-VAE."""

from __future__ import annotations

import re

_LAYER = (
    (r"\.layers\.", ".blocks."),
    (r"\.qkv\.", ".attn.qkv."),
    (r"\.project\.", ".attn.proj."),
    (r"\.scale([12])$", r".ls\1.gamma"),
    (r"\.expand\.", ".mlp.fc1."),
    (r"\.narrow\.", ".mlp.fc2."),
)
_ENDS = {
    "encoder.patches.": "encoder.model.patch_embed.proj.",
    "encoder.latents": "encoder.latent_tokens",
    "encoder.to_latent.": "quant_conv.",
    "decoder.from_latent.": "post_quant_conv.",
    "decoder.blank": "decoder.mask_token",
    "decoder.tail.": "decoder.to_pixel.model.",
}


def released_name(name: str) -> str:
    """Released name of the codec's tensor `name` of encoder or decoder."""
    for ours, theirs in _ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    side, part, rest = name.split(".", 2)
    if part == "places":
        return f"{side}.{'lvl_embed.weight' if rest == 'parts' else 'latent_pos_embed'}"
    rest = {"whole": "cls_token", "positions": "pos_embed"}.get(rest, rest)
    theirs = f"{side}.model.{rest}"
    for pattern, replacement in _LAYER:
        theirs = re.sub(pattern, replacement, theirs)
    return theirs
