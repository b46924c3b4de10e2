"""Match of a released state dict with the tensors of a tokenizer: all keys, all shapes, no unknown keys."""

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
"""Most keys in one error message."""


class Source(NamedTuple):
    """Source of one tensor of the codec in a released state dict."""

    keys: tuple[str, ...]
    """Released keys; several are stacked along the first axis."""
    shape: tuple[int, ...]
    """Shape of the tensor under each key; its values are in the codec's order."""


def own(name: str) -> bool:
    """Return True for a tensor `name` of this codec that no release holds.

    Usage counters of codewords are specific to each release, and no release has a rate term.
    """
    return name in NO_RATE or (name.startswith("quantizer.") and training_only(name))


def needed(config: TokenizerConfig) -> dict[str, Tensor]:
    """Tensors of the codec that a release has to provide, by name, on the meta device."""
    with torch.device("meta"):
        state = Tokenizer(config).state_dict()
    return {name: value for name, value in state.items() if not own(name)}


def single(key: str, value: Tensor) -> Source:
    """Source of a tensor that the release holds under `key` in the same shape."""
    return Source((key,), tuple(value.shape))


def matched(
    ours: Mapping[str, Tensor], sources: Mapping[str, Source], state: Mapping[str, Tensor], skipped: Sequence[str]
) -> dict[str, Tensor]:
    """Return the tensors of a model file from `state`; only tensors that are stacked from several keys are copied.

    Keys that match a pattern of `skipped` are ignored. Raises ModelError naming the keys that are missing, unknown, or
    of another shape or type.
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
            raise ModelError(
                f"released checkpoint: {key} is {value.layout} of {value.dtype}; a dense float tensor is needed"
            )
    return {
        name: _joined([state[key] for key in source.keys], ours[name])
        for name, source in sources.items()
        if not training_only(name)
    }


def _joined(parts: list[Tensor], like: Tensor) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.stack(parts)).reshape(like.shape)
