"""Names of the backbone vit's tensors in the pretrained networks of timm.

ours                        DINOv2                    CLIP             EVA-02
trunk.layers.0.qkv          blocks.0.attn.qkv         as DINOv2        attn.q_proj, attn.k_proj, attn.v_proj
trunk.layers.0.scale1       blocks.0.ls1.gamma        none             none
trunk.layers.0.gate         none                      none             blocks.0.mlp.fc1_g
trunk.norm_pre              none                      norm_pre         none
patches.bias                patch_embed.proj.bias     none: zeros      as DINOv2
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vqcodec.importing.vit_names import released_name

TITLES = {"dinov2": "DINOv2", "clip": "CLIP", "eva02": "EVA-02"}
"""Names in messages, by `tokenizer.backbone.encoder_layers`."""
_EVA = (
    (r"\.mlp\.fc1\.", ".mlp.fc1_x."),
    (r"\.gate\.", ".mlp.fc1_g."),
    (r"\.norm3\.", ".mlp.norm."),
    (r"\.([qkv])\.", r".attn.\1_proj."),
)
_UNUSED = re.compile(r"mask_token$|head\.|lm_head\.|rope\.|fc_norm\.")


def name_in_start(name: str, layers: str = "dinov2") -> str:
    """Name of our tensor `name` in a pretrained network of the layout `layers`; empty if it has none."""
    trunk = f"{name.split('.')[0]}.model."
    released = released_name(name)
    if not released.startswith(trunk):
        return ""
    found = released.removeprefix(trunk)
    for pattern, replacement in _EVA if layers == "eva02" else ():
        found = re.sub(pattern, replacement, found)
    return found


def plain_state(state: Mapping[str, Tensor], layers: str) -> dict[str, Tensor]:
    """Tensors of a pretrained network under the names of `name_in_start`, without heads, with implicit tensors added.

    The last norm of EVA-02 is `fc_norm` where timm pools by the mean. CLIP's patches have no bias.
    """
    found = dict(state)
    if layers == "eva02" and "fc_norm.weight" in found:
        for part in ("weight", "bias"):
            found.setdefault(f"norm.{part}", found[f"fc_norm.{part}"])
    if layers == "clip" and "patch_embed.proj.weight" in found:
        width = found["patch_embed.proj.weight"].shape[0]
        found.setdefault("patch_embed.proj.bias", torch.zeros(width))
    if layers == "dinov2":
        return found
    return {name: value for name, value in found.items() if not _UNUSED.match(name)}
