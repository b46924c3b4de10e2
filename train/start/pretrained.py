"""A vit backbone that starts from DINOv2, CLIP or EVA-02, as XQ-GAN and SoftVQ-VAE do: the table `pretrained`.

Differs from taking.py and grow.py, which start from a model of ours. CLIP and EVA-02 are starts of encoders whose
layers are theirs (tokenizer.backbone.encoder_layers). What DINOv2 (Oquab et al. 2023) or the others lack stays as it
was drawn: latent tokens and their places, and the layers next to the latent and to the pixels.

    DINOv2, 518 px in patches of 14 px     for example 256 px in patches of 16 px
    patch_embed  [C, 3, 14, 14]         -> encoder.patches   [C, 3, 16, 16]      resized; a decoder has none
    pos_embed    [1, 1 + 37 * 37, C]    -> trunk.positions   [1, 1 + 16 * 16, C]  resampled; that of the whole is kept
    cls_token, blocks.*, norm           -> trunk.whole, trunk.layers.*, trunk.norm   as they are, layer scales too

Its weights are made for pixels that are normalised as in ImageNet. Like the authors' trainers, ours gives them pixels
in -1..1 all the same.
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

from ..alignment.teachers import TEACHERS, fetch
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
"""Layers and channels of what can be named; before the dash the layout of the layers."""
PX = 518
"""Side of the pictures that DINOv2 was trained on at last."""
KEY, WAY_OUT = "pretrained.model", "or start from random weights: --set pretrained.model="
PATCHES, POSITIONS = "patch_embed.proj.weight", "pos_embed"
UNUSED = (PATCHES, "patch_embed.proj.bias", "mask_token")
"""What a decoder has no use for, and what hid patches in DINOv2's own training."""
LARGEST_PATCH, LARGEST_GRID = 64, 256
"""Sides that a file may ask to be resampled, pixels and tokens."""
AUTHORS = {"dinov2": " or its authors'"}
NEEDED = {"dinov2": "a DINOv2 without registers", "clip": "a CLIP of pictures", "eva02": "an EVA-02 of size B or L"}
SHOWN = 3
"""Most keys that one message names."""


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


def drawn(model: nn.Module, recipe: PretrainedRecipe) -> set[str]:
    """Names of parameters that start from random numbers, in the parts of a tokenizer that start from weights."""
    names = (name for name, _ in model.named_parameters() if name.split(".")[0] in recipe.started)
    return {name for name in names if not name_in_start(name)}


@torch.no_grad()
def start_pretrained(tokenizer: Tokenizer, recipe: PretrainedRecipe) -> None:
    """Set the parts `recipe.parts` of the network.

    Raises InputError if the weights cannot be had or are of another network, UsageError if they are of another size.
    """
    backbone = tokenizer.config.backbone
    state = start_weights(recipe.model)
    ours = merged(tokenizer.state_dict())
    if isinstance(backbone, VitConfig):
        load_tuned(tokenizer, ours | fitted(state, ours, backbone, recipe))


def start_weights(model: str) -> dict[str, Tensor]:
    """The tensors of a start by its own names: of a model in SIZES, or in the file `model`. Raises InputError."""
    if model in SIZES:
        source = TEACHERS[model]
        px = PX if model.startswith("dinov2") else source.px
        network = fetch(dataclasses.replace(source, px=px), KEY, KEY, WAY_OUT).network
        return dict(network.state_dict())
    if not Path(model).is_file():
        raise InputError(f"{KEY}: '{model}' is no file, nor one of {', '.join(SIZES)}; name one, {WAY_OUT}")
    return read_checkpoint(Path(model))


def fitted(
    state: Mapping[str, Tensor], ours: Mapping[str, Tensor], backbone: VitConfig, recipe: PretrainedRecipe
) -> dict[str, Tensor]:
    """Our tensors that the start's `state` has, in the shapes of `ours`.

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
    """A tensor of DINOv2 in the shape of ours."""
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
        raise InputError(f"{source}: {key} holds what are no finite numbers, plain ones of floating point")
    if key == PATCHES:
        return resized_patches(value, like.shape[-1])
    return resampled(value.float(), like.shape[1] - 1) if key == POSITIONS else value


def resized_patches(weight: Tensor, side: int) -> Tensor:
    """Filters [C, 3, p, p] -> [C, 3, side, side] that find in patches of that side what `weight` finds in theirs.

    FlexiViT (Beyer et al. 2023): of the filters for resized patches B x those whose products are nearest to w x, which
    the pseudo-inverse of B's transpose gives; exact where patches grow.
    """
    old = weight.shape[-1]
    if old == side:
        return weight
    pixels = torch.eye(old**2, dtype=torch.float64).reshape(-1, 1, old, old)
    resize = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True).flatten(1)  # [p * p, side * side]
    found = weight.double().cpu().flatten(2) @ torch.linalg.pinv(resize).T
    return found.reshape(*weight.shape[:2], side, side).to(weight.device, torch.float32)
