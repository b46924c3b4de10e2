"""Pixels to the scale of the networks and back."""

from __future__ import annotations

import numpy as np
import torch

from vqcodec.inference.torch_networks import to_array, to_tensor
from vqcodec.tokenizer import to_levels, to_pixels, to_unit


def test_every_level_returns() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    x = to_unit(pixels)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_pixels(x), pixels)
    picture = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    np.testing.assert_array_equal(to_array(to_tensor(list(picture), "cpu")), picture)


def test_values_between_and_beyond_the_levels() -> None:
    x = torch.tensor([-3.0, -1.004, 0.0, 0.001, 1.004, 3.0])
    before = x.clone()
    assert to_pixels(x).tolist() == [0, 0, 128, 128, 255, 255]
    assert to_levels(x).tolist() == [0, 0, 128, 128, 255, 255]
    assert torch.equal(x, before)


def test_floats_are_not_scaled_in_place() -> None:
    x = torch.full((3,), 255.0)
    assert to_unit(x).tolist() == [1, 1, 1]
    assert x.tolist() == [255, 255, 255]
