"""Fine-tuning of a run that starts from weights: each part in full, by low-rank updates (LoRA), or frozen.

Hu et al. 2022 (LoRA), through peft; XQ-GAN, section 6.1. A weight W [out, in] becomes W + U D with D [r, in] and
U [out, r], of which only U and D are trained; U starts at zero. `merged` returns plain weights with the updates added.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from vqcodec.errors import InputError, UsageError

from .recipe.schema import PARTS, TuningRecipe

BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""peft's names of the original layer and of D and U within its replacement."""


def tune(
    model: nn.Module, recipe: TuningRecipe, frozen: tuple[str, ...] = (), randomly_initialised: Collection[str] = ()
) -> None:
    """Set the trained parameters of the model's parts, insert the low-rank updates, and freeze the parts `frozen`.

    Parameters in `randomly_initialised`, within a part whose other tensors start from weights, are trained in full.
    Raises UsageError for a part without a layer that `recipe.layers` names, InputError without peft.
    """
    modes = {"encoder": recipe.encoder, "decoder": recipe.decoder}
    for part in PARTS:
        lora = modes.get(part) == "lora"
        if not lora and part not in frozen:
            continue
        module = getattr(model, part)
        if lora:
            _add_updates(part, module, recipe)
        for name, value in module.named_parameters(prefix=part):
            plain = name.replace(BASE, ".")
            named = plain in randomly_initialised or any(fnmatchcase(plain, pattern) for pattern in recipe.trained)
            value.requires_grad_(named or ".lora_" in name)
        if lora and hasattr(module, "last_layer"):
            module.last_layer.requires_grad_()
        if part in frozen and (part == "quantizer" or not any(value.requires_grad for value in module.parameters())):
            # Evaluation mode also keeps the statistics of batch normalization and the averages of codebooks.
            module.register_forward_pre_hook(_stay)


def _stay(module: nn.Module, _: object) -> None:
    module.eval()


def _add_updates(part: str, module: nn.Module, recipe: TuningRecipe) -> None:
    names = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        and any(fnmatchcase(f"{part}.{name}", pattern) for pattern in recipe.layers)
    ]
    if not names:
        raise UsageError(f"recipe.tuning.layers: no layer of the {part} is called {' or '.join(recipe.layers)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from vqcodec.runtime.torchvision_import import import_torchvision

            import_torchvision()
            from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError(
            f"tuning.{part}=lora needs more packages: pip install 'vqcodec[alignment]' ({error})"
        ) from error
    inject_adapter_in_model(LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=names), module)


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a tuned model -> state dict of a plain one, with the updates added to the weights.

    A state dict without updates is returned unchanged.
    """
    plain = {}
    for name, value in state.items():
        if ".lora_" in name:
            continue
        if BASE in name and name.endswith("weight"):
            layer = name.removesuffix(f"{BASE}weight")
            value = value + _update(state[layer + DOWN], state[layer + UP], value.shape)
        plain[name.replace(BASE, ".")] = value
    return plain


def _update(down: Tensor, up: Tensor, shape: torch.Size) -> Tensor:
    """down [r, in, ...], up [out, r, 1, ...] -> their product, of a weight's `shape`."""
    return (up.flatten(1) @ down.flatten(1)).reshape(shape)


def load_tuned(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a tuned model's own state dict, or a plain one, which sets the original layers and keeps the updates.

    Raises RuntimeError, as load_state_dict does, for the state of another model.
    """
    own = model.state_dict()
    updates = {name: value for name, value in own.items() if ".lora_" in name}
    if updates and not any(".lora_" in name for name in state):
        names = {name.replace(BASE, "."): name for name in own if name not in updates}
        state = {**updates, **{names.get(name, name): value for name, value in state.items()}}
    model.load_state_dict(state)


def trained_share(model: nn.Module) -> float:
    """Share of the parameters that are trained, 0..1."""
    counts = [(math.prod(value.shape), value.requires_grad) for value in model.parameters()]
    return sum(count for count, trained in counts if trained) / max(sum(count for count, _ in counts), 1)
