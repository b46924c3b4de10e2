"""Moving average of a network's weights, which is validated and exported in place of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Exponential moving average of the parameters of `model`; its buffers are not averaged.

        average <- decay * average + (1 - decay) * weights

    `values` holds the averages by the parameters' names, as checkpoints do.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def reset(self) -> None:
        """Set the averages to the present weights, as after a start from other weights."""
        for name, value in self.model.named_parameters():
            self.values[name].copy_(value)

    def update(self, decay: float) -> None:
        """Take the present weights in, with the share 1 - `decay`."""
        get_ema_multi_avg_fn(decay)(list(self.values.values()), list(self.model.parameters()), 0)

    def state_dict(self) -> dict[str, Tensor]:
        """State of the model with the averages for its parameters."""
        return {**self.model.state_dict(), **self.values}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set the averages from `state`; one that it lacks becomes the present weight."""
        for name, value in self.model.named_parameters():
            self.values[name].copy_(state.get(name, value))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the model has the averages as its weights."""
        own = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self._set(self.values)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, value in self.model.named_parameters():
            value.copy_(values[name])
