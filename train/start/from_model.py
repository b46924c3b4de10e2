"""What a run takes over as it is, from a finished checkpoint or model, where its quantizer is frozen.

Differs from grow.py, which makes room for more channels. Here the latent stays what it is; what may be new are
refinements of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqcodec.config.model import ProductVQConfig
from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model
from vqcodec.tokenizer import CAPS, COSTS, PRICES, training_only

from ..quantization.product import Codebooks

if TYPE_CHECKING:  # run.py uses this file
    from ..run import TokenizerRun


def with_room(state: dict[str, Tensor], model: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with what `model` has for refinements and the state does not."""
    found = dict(state)
    for name in (COSTS, CAPS, PRICES):
        if name in found and name in model and found[name].shape[1:] == model[name].shape[1:]:
            found[name] = torch.cat([found[name], model[name][len(found[name]) :].to(found[name].device)])
    return {**{name: value for name, value in model.items() if name.startswith("quantizer.refinements.")}, **found}


@torch.no_grad()
def take_model(run: TokenizerRun, name: str) -> None:
    """Weights, codebooks and prices of the model called `name` or in the folder `name`.

    Raises ModelError if there is no such model, UsageError if it is of another architecture.
    """
    have = run.model.state_dict()
    state = with_room(load_model(name).tokenizer.state_dict(), have)
    # Averages of the use of codewords are not in a model; frozen ones do without.
    state |= {key: value for key, value in have.items() if training_only(key)}
    for key, value in have.items():
        if key not in state or state[key].shape != value.shape:
            raise UsageError(
                f"recipe.start_from: model '{name}' has no tensor {key} of shape {list(value.shape)}; "
                "with a frozen quantizer it must be of the recipe's architecture"
            )
    run.model.load_state_dict({key: state[key] for key in have})
    if isinstance(run.codebooks, Codebooks):
        run.codebooks.set_caps()
    if isinstance(run.recipe.tokenizer.quantizer, ProductVQConfig) and run.recipe.codebook.rate:
        prices = run.model.quantizer.prices[: run.model.quantizer.groups]
        run.codebooks.load_state_dict({"gains": run.recipe.codebook.rate / prices if prices.all() else None})
    for key, value in run.model.named_parameters():
        run.ema[key].copy_(value)
