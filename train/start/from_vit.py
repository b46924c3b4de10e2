"""Start of a vit backbone from DINOv2, CLIP or EVA-02, as in XQ-GAN and SoftVQ-VAE: the table `pretrained`.

CLIP and EVA-02 serve encoders of their layout (tokenizer.backbone.encoder_layers). Tensors that they or DINOv2 (Oquab
et al. 2023) lack keep their random values: latent tokens and their positions, and the layers next to the latent and to
the pixels.

    DINOv2, 518 px in patches of 14 px     for example 256 px in patches of 16 px
    patch_embed  [C, 3, 14, 14]         -> encoder.patches   [C, 3, 16, 16]      resized; not in a decoder
    pos_embed    [1, 1 + 37 * 37, C]    -> trunk.positions   [1, 1 + 16 * 16, C]  resampled; the class token's is kept
    cls_token, blocks.*, norm           -> trunk.whole, trunk.layers.*, trunk.norm   unchanged, with layer scales

The weights expect pixels normalised as in ImageNet; as in the authors' trainers, they receive pixels in -1..1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.backbones.vit_blocks import resampled
from vqcodec.config.backbones import VitConfig
from vqcodec.errors import InputError, UsageError
from vqcodec.importing.checkpoint import read_checkpoint
from vqcodec.tokenizer import Tokenizer

from ..alignment.teachers import TEACHERS, VitTeacher, fetch
from ..finetuning import load_tuned, merged
from ..recipe.schema import PretrainedRecipe
from .pretrained_names import TITLES, name_in_start, plain_state

SIZES = {
    "dinov2-small": (12, 384),
    "dinov2-base": (12, 768),
    "dinov2-large": (24, 1024),
    "clip-base": (12, 768),
    "clip-large": (24, 1024),
    "eva02-base": (12, 768),
    "eva02-large": (24, 1024),
}
"""Layers and channels by name; the part before the dash is the layout of the layers."""
PX = 518
"""Side of the pictures in the last stage of DINOv2's training, pixels."""
KEY, WAY_OUT = "pretrained.model", "or start from random weights: --set pretrained.model="
PATCHES, POSITIONS = "patch_embed.proj.weight", "pos_embed"
UNUSED = (PATCHES, "patch_embed.proj.bias", "mask_token")
"""Tensors that a decoder does not use, and the mask token of DINOv2's own training."""
LARGEST_PATCH, LARGEST_GRID = 64, 256
"""Largest sides that are resampled: of patches, pixels, and of the grid, tokens."""
AUTHORS = {"dinov2": " or its authors'"}
NEEDED = {"dinov2": "a DINOv2 without registers", "clip": "a CLIP of pictures", "eva02": "an EVA-02 of size B or L"}
SHOWN = 3
"""Keys that one message names, at most."""


def check_size(recipe: PretrainedRecipe, backbone: VitConfig, size: tuple[int, int]) -> None:
    """Raise UsageError unless the parts that start from the network have its `size`: (layers, channels)."""
    for part in recipe.parts:
        needed = (getattr(backbone, f"{part}_depth"), getattr(backbone, f"{part}_width"))
        if needed != size:
            raise UsageError(
                f"recipe.{KEY}: {recipe.model} has {size[0]} layers of {size[1]} channels, the backbone's {part} "
                f"{needed[0]} of {needed[1]}; change either, {WAY_OUT}"
            )


def check_named(recipe: PretrainedRecipe, backbone: VitConfig) -> None:
    """Raise UsageError if `recipe.model` is one of SIZES with other layers, or another size, than the backbone."""
    if recipe.model not in SIZES:
        return
    layers = recipe.model.partition("-")[0]
    if layers != backbone.encoder_layers:
        raise UsageError(
            f"recipe.{KEY}: {recipe.model} has other layers than the backbone's encoder ({backbone.encoder_layers}): "
            f"--set tokenizer.backbone.encoder_layers={layers}"
        )
    check_size(recipe, backbone, SIZES[recipe.model])


def randomly_initialised(model: nn.Module, recipe: PretrainedRecipe) -> set[str]:
    """Names of parameters that start from random numbers, within the parts that start from weights."""
    names = (name for name, _ in model.named_parameters() if name.split(".")[0] in recipe.started)
    return {name for name in names if not name_in_start(name)}


@torch.no_grad()
def start_pretrained(tokenizer: Tokenizer, recipe: PretrainedRecipe) -> None:
    """Set the parts `recipe.parts` of the network.

    Raises InputError if the weights are missing or of another network, UsageError if they are of another size.
    """
    backbone = tokenizer.config.backbone
    state = start_weights(recipe.model)
    ours = merged(tokenizer.state_dict())
    if isinstance(backbone, VitConfig):
        load_tuned(tokenizer, ours | fitted(state, ours, backbone, recipe))


def start_weights(model: str) -> dict[str, Tensor]:
    """Tensors of the pretrained network under its own names: one of SIZES, or the file `model`. Raises InputError."""
    if model in SIZES:
        source = TEACHERS[model]
        px = PX if model.startswith("dinov2") else source.px
        teacher = fetch(dataclasses.replace(source, px=px), KEY, KEY, WAY_OUT)
        assert isinstance(teacher, VitTeacher)
        return dict(teacher.network.state_dict())
    if not Path(model).is_file():
        raise InputError(f"{KEY}: '{model}' is neither a file nor one of {', '.join(SIZES)}; name one, {WAY_OUT}")
    return read_checkpoint(Path(model))


def fitted(
    state: Mapping[str, Tensor], ours: Mapping[str, Tensor], backbone: VitConfig, recipe: PretrainedRecipe
) -> dict[str, Tensor]:
    """Tensors of `ours` that the pretrained `state` has, in our shapes.

    Raises UsageError if it is of another size, InputError naming keys that are missing, left over or of a wrong shape.
    """
    layers = backbone.encoder_layers
    title, state = TITLES[layers], plain_state(state, layers)
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    if not depth or "norm.weight" not in state:
        raise InputError(
            f"{recipe.model}: holds no {title} by timm's names{AUTHORS.get(layers, '')}; name another file, {WAY_OUT}"
        )
    check_size(recipe, backbone, (depth, state["norm.weight"].numel()))
    keys = {name: name_in_start(name, layers) for name in ours if name.split(".")[0] in recipe.parts}
    keys = {name: key for name, key in keys.items() if key}
    missing = sorted(set(keys.values()) - set(state))
    unknown = sorted(set(state) - set(keys.values()) - set(UNUSED))
    for what, names in (("lacks", missing), ("holds unknown", unknown)):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise InputError(f"{recipe.model}: {what} {', '.join(names[:SHOWN])}{more}; {NEEDED[layers]} is needed")
    return {name: _fitted(key, state[key], ours[name], recipe.model) for name, key in keys.items()}


def _fitted(key: str, value: Tensor, like: Tensor, source: str) -> Tensor:
    """Pretrained tensor `value` in the shape of ours."""
    shape, needed = list(value.shape), list(like.shape)
    if key == PATCHES:
        side = shape[-1] if shape else 0
        needed[2:] = [side, side] if 1 <= side <= LARGEST_PATCH else needed[2:]
    elif key == POSITIONS:
        side = round(max(shape[1] - 1, 0) ** 0.5) if len(shape) == 3 else 0
        needed[1] = 1 + side**2 if 1 <= side <= LARGEST_GRID else needed[1]
    if shape != needed:
        raise InputError(f"{source}: {key} is {shape}; {needed} needed")
    plain = value.layout == torch.strided and value.is_floating_point() and not value.is_meta
    if not plain or not bool(value.float().isfinite().all()):
        raise InputError(f"{source}: {key} holds other values than finite floating-point numbers")
    if key == PATCHES:
        return resized_patches(value, like.shape[-1])
    return resampled(value.float(), like.shape[1] - 1) if key == POSITIONS else value


def resized_patches(weight: Tensor, side: int) -> Tensor:
    """Filters [C, 3, p, p] -> [C, 3, side, side] with the same responses on resized patches.

    FlexiViT (Beyer et al. 2023), section 3.4: for a resize B of patches x, the filters v that minimize
    E (v . B x - w . x)^2 are v = pinv(B^T) w; exact for larger patches.
    """
    old = weight.shape[-1]
    if old == side:
        return weight
    pixels = torch.eye(old**2, dtype=torch.float64).reshape(-1, 1, old, old)
    resize = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True).flatten(1)  # [p * p, side * side]
    found = weight.double().cpu().flatten(2) @ torch.linalg.pinv(resize).T
    return found.reshape(*weight.shape[:2], side, side).to(weight.device, torch.float32)
