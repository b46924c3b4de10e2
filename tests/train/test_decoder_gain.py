"""Decoder gain of a linear decoder with known gain, and the range of rate factors."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.train.decoder_gain import decoder_gain
from vqcodec.train.quantization.product_codebooks import draw_rates

SCALES = torch.tensor([3.0, 1.0, 0.2, 0.2])


def decode(z: Tensor, kept: Tensor) -> Tensor:
    return z * SCALES[None, :, None, None]


def test_gain_of_a_linear_decoder_is_its_squared_scale() -> None:
    z, kept = torch.randn(2, 4, 5, 5), torch.ones(2, 3, 5, 5)
    parts = torch.arange(4).split([1, 1, 2])
    expected = torch.tensor([9.0, 1.0, 0.04])
    torch.testing.assert_close(decoder_gain(decode, z, kept, parts, 0.1), expected)
    torch.testing.assert_close(decoder_gain(decode, z, kept, parts, torch.tensor([1.0, 0.5, 2.0])), expected)


def test_a_part_without_noise_has_no_gain() -> None:
    z, kept = torch.randn(1, 4, 3, 3), torch.ones(1, 1, 3, 3)
    assert decoder_gain(decode, z, kept, torch.arange(4).split(1), torch.tensor([0.0, 1.0, 1.0, 1.0]))[0] == 0


def test_rate_factors_are_uniform_in_the_logarithm() -> None:
    rates = draw_rates(4000, 0.5, 8.0, torch.Generator().manual_seed(0))
    assert 0.5 <= rates.min() < 0.51
    assert 7.8 < rates.max() <= 8.0
    assert abs(rates.log2().mean() - 1) < 0.1
