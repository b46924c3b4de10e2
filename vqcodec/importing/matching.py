"""Check of a released state dict against the tensors of a tokenizer: every key, every shape, nothing left over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..config.model import TokenizerConfig
from ..errors import ModelError
from ..tokenizer import NO_RATE, Tokenizer, training_only

SHOWN = 3
"""Most keys that one message names."""


class Source(NamedTuple):
    """Where a release has one of our tensors."""

    keys: tuple[str, ...]
    """Several are parts of ours along its first axis."""
    shape: tuple[int, ...]
    """Of the tensor under each key; the numbers come in our order."""


def own(name: str) -> bool:
    """True for a tensor `name` of this codec that no release holds.

    Each release counts the use of codewords in its own way, and none has a rate term.
    """
    return name in NO_RATE or (name.startswith("quantizer.") and training_only(name))


def needed(config: TokenizerConfig) -> dict[str, Tensor]:
    """Our tensors that a release has to fill, by name, without values."""
    with torch.device("meta"):
        state = Tokenizer(config).state_dict()
    return {name: value for name, value in state.items() if not own(name)}


def single(key: str, value: Tensor) -> Source:
    """The tensor of a release that is ours as it is."""
    return Source((key,), tuple(value.shape))


def matched(
    ours: Mapping[str, Tensor], sources: Mapping[str, Source], state: Mapping[str, Tensor], skipped: Sequence[str]
) -> dict[str, Tensor]:
    """Our tensors out of `state`, without those of training; nothing is copied but parts that are put together.

    Keys that match a pattern of `skipped` are passed over. Raises ModelError naming the keys that are missing, left
    over or of another shape or type.
    """
    wanted = {key: source.shape for source in sources.values() for key in source.keys}
    missing = [key for key in wanted if key not in state]
    extra = [key for key in sorted(set(state) - set(wanted)) if not any(re.match(pattern, key) for pattern in skipped)]
    for what, keys in (("lacks", missing), ("holds unknown", extra)):
        if keys:
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            named = ", ".join(keys[:SHOWN])
            raise ModelError(f"released checkpoint: {what} {named}{more}; another variant of the model?")
    for key, shape in wanted.items():
        value = state[key]
        if tuple(value.shape) != shape:
            raise ModelError(f"released checkpoint: {key} is {list(value.shape)}; {list(shape)} needed")
        plain = value.layout == torch.strided and value.is_floating_point()
        if not plain and not training_only(key):
            raise ModelError(f"released checkpoint: {key} is {value.layout} of {value.dtype}; plain numbers are needed")
    return {
        name: _joined([state[key] for key in source.keys], ours[name])
        for name, source in sources.items()
        if not training_only(name)
    }


def _joined(parts: list[Tensor], like: Tensor) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.stack(parts)).reshape(like.shape)
