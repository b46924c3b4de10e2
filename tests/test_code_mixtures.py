"""Soft quantizers: mixtures of codewords as a few terms with weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.config import MISSING
from vqcodec.quantizer_config import (
    GMMVQConfig,
    SoftVQConfig,
)
from vqcodec.quantizers.soft import nearest_weight, weight_of

from .codes import built, name


@given(st.floats(-4, 4, width=32, allow_subnormal=False))
def test_weights_are_the_nearest_in_their_logarithm(value: float) -> None:
    symbol = int(nearest_weight(torch.tensor([value]))[0])
    assert 0 <= symbol < 32
    weight = float(weight_of(torch.tensor([symbol]))[0])
    assert weight * value >= 0
    if 2**-7.5 <= abs(value) <= 1:
        assert 2**-0.26 <= weight / value <= 2**0.26


@pytest.mark.parametrize("config", [SoftVQConfig(64, 6, terms=8), GMMVQConfig(64, 6, terms=8)], ids=name)
def test_terms_come_closer_to_the_mixture(config: Any) -> None:
    quantizer, z = built(config, grid=(8, 8))
    with torch.no_grad():
        mixed = quantizer(z, z).z_q
        planes = quantizer.quantize(z)
        errors = []
        for layer in config.layers:
            prefix = [p if s <= layer[-1] else torch.full_like(p, MISSING) for s, p in enumerate(planes)]
            errors.append(float((quantizer.dequantize(prefix)[0] - mixed).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 * errors[0]


def test_the_first_weight_is_the_one_with_the_least_error() -> None:
    quantizer, z = built(SoftVQConfig(32, 4, terms=1), grid=(8, 8))
    with torch.no_grad():
        mixed = quantizer(z, z).z_q

        def error(weight: float) -> float:
            quantizer.first_weight = weight
            return float((quantizer.dequantize(quantizer.quantize(z))[0] - mixed).square().mean())

        best = quantizer.measured_weight(z)
        assert 0 < best < 1
        assert error(best) < min(error(best - 0.05), error(best + 0.05))


def test_a_sharp_mixture_is_the_likeliest_codeword() -> None:
    quantizer, z = built(SoftVQConfig(16, 4, temperature=1e-4, terms=1))
    with torch.no_grad():
        mixed = quantizer(z, z).z_q
        hard, _ = quantizer.dequantize(quantizer.quantize(z))
    torch.testing.assert_close(mixed, hard, atol=1e-3, rtol=0)


def test_sharpness_is_told_from_the_latent() -> None:
    quantizer, z = built(GMMVQConfig(16, 4))
    before = quantizer(z, z).z_q
    quantizer.sharpness.weight.data.add_(1)
    assert not torch.equal(quantizer(z, z).z_q, before)
    quantizer.train()(z, z).z_q.square().sum().backward()
    assert bool((quantizer.sharpness.weight.grad != 0).any())
