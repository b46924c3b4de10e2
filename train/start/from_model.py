"""Start from a finished model or checkpoint whose latent stays as it is; only refinements may be new."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model
from vqcodec.tokenizer import NO_RATE, Tokenizer, training_only


def with_refinement_tensors(state: dict[str, Tensor], model: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict `state`, extended by the tensors and planes that `model` has for refinements and `state` lacks."""
    found = dict(state)
    for name in NO_RATE:
        if name in found and name in model and found[name].shape[1:] == model[name].shape[1:]:
            found[name] = torch.cat([found[name], model[name][len(found[name]) :].to(found[name].device)])
    return {**{name: value for name, value in model.items() if name.startswith("quantizer.refinements.")}, **found}


@torch.no_grad()
def start_from_model(tokenizer: Tokenizer, name: str) -> None:
    """Set all weights, codebooks and lambda weights of `tokenizer` from the model called `name` or in that folder.

    Raises ModelError if there is no such model, UsageError if its architecture is another.
    """
    have = tokenizer.state_dict()
    state = with_refinement_tensors(load_model(name).tokenizer.state_dict(), have)
    # A model holds no averages of the codewords' use; frozen codebooks need none.
    state |= {key: value for key, value in have.items() if training_only(key)}
    for key, value in have.items():
        if key not in state or state[key].shape != value.shape:
            raise UsageError(
                f"recipe.start_from: model '{name}' has no tensor {key} of shape {list(value.shape)}; "
                "with a frozen quantizer it must be of the recipe's architecture"
            )
    tokenizer.load_state_dict({key: state[key] for key in have})
