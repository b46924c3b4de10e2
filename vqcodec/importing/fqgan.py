"""FQGAN's released tokenizers, dual and triple: configurations, and the map of tensor names.

Groups of the quantizer follow the decoder's order of branches: visual, semantic; or visual, mid- and high-level
semantic.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..config.backbones import VqganConfig
from ..config.model import TokenizerConfig
from ..config.quantizers import ProductVQConfig
from ..errors import ModelError
from . import vqgan_names
from .matching import Source, matched, needed, single
from .vqgan_names import BranchNames

CODEBOOKS = "quantizer.bank.codebooks"
SKIPPED = (
    r"(feat_pred_head|mid_sem_feat_pred|high_sem_feat_pred)\.",
    r"quantize_\w+\.codebook_used$",
)
"""Tensors for training only: heads that predict features of a teacher, and the usage counters of codewords."""
WINDOW, OVERLAP = 256, 32
"""Side of the only input that its adapters accept, and overlap of neighbouring windows in larger pictures; pixels."""


def _branch(head: str, name: str) -> BranchNames:
    norm, conv = f"encoder.norm_out_{name}", f"encoder.conv_out_{name}"
    return BranchNames(f"encoder.{head}.0", norm, conv, f"quant_conv_{name}")


BRANCHES = {
    2: {"vis": _branch("visual_head", "vis"), "sem": _branch("semantic_head", "sem")},
    3: {
        "vis": _branch("visual_head", "vis"),
        "sem_mid": _branch("semantic_head_mid", "sem_mid"),
        "sem_high": _branch("semantic_head_high", "sem_high"),
    },
}
"""Number of branches -> released name of each branch -> released names of its parts."""


def _release(stride: int, branches: int) -> TokenizerConfig:
    widths = (128, 128, 256, 256, 512) if stride == 16 else (128, 256, 256, 512)
    stages = len(widths)
    backbone = VqganConfig(widths, (2,) * stages, (3,) * stages, adapters=branches)
    quantizer = ProductVQConfig(branches, 16384, 8, normalised=True, fill="zero")
    return TokenizerConfig(stride, backbone, quantizer, WINDOW, OVERLAP)


RELEASES: dict[str, TokenizerConfig] = {
    f"fqgan-{name}-{stride}": _release(stride, branches)
    for name, branches in (("dual", 2), ("triple", 3))
    for stride in (8, 16)
}


def sources(config: TokenizerConfig, ours: Mapping[str, Tensor]) -> dict[str, Source]:
    """Map each tensor of the codec to its source in the release. Raises ModelError for another backbone."""
    backbone = config.backbone
    if not isinstance(backbone, VqganConfig) or backbone.adapters not in BRANCHES:
        raise ModelError("released checkpoint: FQGAN's backbone is vqgan with 2 or 3 adapters")
    names = BRANCHES[backbone.adapters]
    found: dict[str, Source] = {}
    for name, value in ours.items():
        if name == CODEBOOKS:
            keys = tuple(f"quantize_{branch}.embedding.weight" for branch in names)
            found[name] = Source(keys, tuple(value.shape[1:]))
        else:
            found[name] = single(vqgan_names.released_name(name, backbone, list(names.values())), value)
    return found


def from_released(config: TokenizerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a released state dict to the tensors of a model file.

    Raises ModelError naming the keys that are missing, left over or of another shape.
    """
    ours = needed(config)
    return matched(ours, sources(config, ours), state, SKIPPED)
