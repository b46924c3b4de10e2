"""Moving average of weights: its recursion, the swap with the weights, and a reset."""

from __future__ import annotations

import torch
from torch import nn

from vqcodec.train.moving_average import MovingAverage


def test_average_follows_the_weights() -> None:
    model = nn.BatchNorm1d(2)
    average = MovingAverage(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
    average.update(0.75)
    torch.testing.assert_close(average.values["weight"], torch.tensor([1.5, 1.5]))
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), torch.tensor([1.5, 1.5]))
    torch.testing.assert_close(model.weight.detach(), torch.tensor([3.0, 3.0]))
    assert set(average.state_dict()) == set(model.state_dict())
    assert average.state_dict()["running_mean"] is not None
    average.reset()
    torch.testing.assert_close(average.values["weight"], torch.tensor([3.0, 3.0]))


def test_average_loads_what_a_state_holds() -> None:
    model = nn.Linear(1, 1)
    average = MovingAverage(model)
    average.load({"weight": torch.full((1, 1), 7.0)})
    assert average.values["weight"] == 7
    assert average.values["bias"] == model.bias
