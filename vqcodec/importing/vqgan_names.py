"""Tensor names of the backbone `vqgan` in LlamaGen, which FQGAN and XQ-GAN's CNN share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..config.backbones import VqganConfig


class BranchNames(NamedTuple):
    """Released names of the parts of one branch between the network and the latent."""

    adapter: str
    """FQGAN only; empty for a branch without adapter."""
    norm: str
    head: str
    to_latent: str


ONE_BRANCH = (BranchNames("", "encoder.norm_out", "encoder.conv_out", "quant_conv"),)

_ADAPTER = (
    (r"^positions$", "positional_embedding"),
    (r"^norm_in\.", "ln_pre."),
    (r"^norm_out\.", "ln_post."),
    (r"^layers\.(\d+)\.norm(\d)\.", r"transformer.\1.ln_\2."),
    (r"^layers\.(\d+)\.qkv\.(weight|bias)$", r"transformer.\1.attn.in_proj_\2"),
    (r"^layers\.(\d+)\.project\.", r"transformer.\1.attn.out_proj."),
    (r"^layers\.(\d+)\.expand\.", r"transformer.\1.mlp.c_fc."),
    (r"^layers\.(\d+)\.narrow\.", r"transformer.\1.mlp.c_proj."),
)
_ENDS = {
    "encoder.stem.": "encoder.conv_in.",
    "encoder.middle.": "encoder.mid.",
    "decoder.from_latent.": "post_quant_conv.",
    "decoder.stem.": "decoder.conv_in.",
    "decoder.middle.": "decoder.mid.",
    "decoder.norm.": "decoder.norm_out.",
    "decoder.tail.": "decoder.conv_out.",
}


def released_name(name: str, config: VqganConfig, branches: Sequence[BranchNames] = ONE_BRANCH) -> str:
    """Released name of the codec's tensor `name` of encoder or decoder.

    The released decoder numbers stages from the coarsest. Residual blocks and attentions of a stage are numbered
    separately. Down- and upsampling belong to the stage before them.
    """
    if name.startswith("encoder.branches."):
        return _branch_name(name, branches)
    for ours, theirs in _ENDS.items():
        if name.startswith(ours):
            return theirs + _block_name(name.removeprefix(ours))
    side, kind, number, rest = name.split(".", 3)
    last = len(config.widths) - 1
    if kind in ("downs", "ups"):
        stage = int(number) if kind == "downs" else last - 1 - int(number)
        return f"{side}.conv_blocks.{stage}.{kind.removesuffix('s')}sample.{rest}"
    position, inner = rest.split(".", 1)
    part, count = "res", int(position)
    if int(number) == last:
        part, count = ("res", "attn")[count % 2], count // 2
    stage = int(number) if side == "encoder" else last - int(number)
    return f"{side}.conv_blocks.{stage}.{part}.{count}.{_block_name(inner)}"


def _branch_name(name: str, branches: Sequence[BranchNames]) -> str:
    _, _, number, part, rest = name.split(".", 4)
    names = branches[int(number)]
    if part == "adapter":
        for pattern, replacement in _ADAPTER:
            rest = re.sub(pattern, replacement, rest)
    return f"{getattr(names, part)}.{rest}"


def _block_name(inner: str) -> str:
    return re.sub(r"\bproject\.", "proj_out.", re.sub(r"\bshortcut\.", "nin_shortcut.", inner))
