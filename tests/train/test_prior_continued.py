"""Continued training of a context model: integers become floats and the same integers again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.entropy.context_model import ContextModel
from vqcodec.train.prior.network import Prior


@pytest.mark.parametrize("near", [None, 1])
def test_integers_become_floats_and_the_same_integers_again(near: int | None) -> None:
    torch.manual_seed(1)
    sizes = (16, 8, 16)
    first = Prior(sizes, 8, near)
    with torch.no_grad():
        for net in first.planes:
            net.out.mul_(30)
            net.bias3.normal_()
    tensors = first.tensors()
    again = Prior(sizes, 8, near)
    again.go_on_from(ContextModel(sizes, tensors))
    for name, value in again.tensors().items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)


def test_another_architecture_is_refused() -> None:
    model = ContextModel((16, 16), Prior((16, 16), 8).tensors())
    with pytest.raises(ValueError, match="has"):
        Prior((16, 16), 12).go_on_from(model)
    with pytest.raises(ValueError, match="other planes"):
        Prior((16, 16), 8, near=1).go_on_from(model)
