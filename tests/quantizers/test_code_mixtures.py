"""Soft quantizers: mixtures of codewords as a few terms with weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from vqcodec.config.quantizers import GMMVQConfig, ResidualConfig, SoftVQConfig, SplitConfig, with_first_weight
from vqcodec.planes import MISSING
from vqcodec.quantizers.soft import measured_weight, nearest_weight, weight_of

from ..codes import built, name


@given(st.floats(-4, 4, width=32, allow_subnormal=False))
def test_weights_are_the_nearest_in_their_logarithm(value: float) -> None:
    symbol = int(nearest_weight(torch.tensor([value]))[0])
    assert 0 <= symbol < 32
    weight = float(weight_of(torch.tensor([symbol]))[0])
    assert weight * value >= 0
    if 2**-7.5 <= abs(value) <= 1:
        assert 2**-0.26 <= weight / value <= 2**0.26


SOFT = SoftVQConfig(64, 6, terms=8)
PLAIN = SoftVQConfig(64, 6, terms=8, normalised=False)


@pytest.mark.parametrize(
    "config",
    [SOFT, GMMVQConfig(64, 6, terms=8), SplitConfig(2, SOFT), SplitConfig(2, SOFT, over="tokens")],
    ids=name,
)
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

        best = measured_weight(quantizer, [z])
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


def test_a_stage_of_mixtures_is_for_what_those_before_it_leave_over() -> None:
    """Two stages of one term each have a lower error than the first stage alone."""
    config = ResidualConfig(2, structs.replace(PLAIN, terms=1, temperature=0.05))
    quantizer, z = built(config, grid=(8, 8))
    for part in quantizer.parts:
        part.codebooks.data.mul_(2)
    with torch.no_grad():
        planes = quantizer.quantize(z)
        first = quantizer.part(0).dequantize(planes[:1])[0]
        assert torch.equal(planes[1], quantizer.part(1).quantize(z - first)[0])
        both = quantizer.dequantize(planes)[0]
        alone, kept = quantizer.dequantize([planes[0], torch.full_like(planes[1], MISSING)])
        assert torch.equal(alone, first)
        assert float(kept.unique()) == 0.5
        mixed = quantizer(z, z).z_q
    assert float((z - both).square().mean()) < float((z - first).square().mean())
    one = quantizer.part(0)(z, z).z_q
    torch.testing.assert_close(mixed, one + quantizer.part(1)(z - one, z).z_q, atol=1e-5, rtol=0)


def test_layers_of_stages_of_mixtures() -> None:
    """Layers by stage, then by term; the first ones are joined where there would be more than 16."""
    assert ResidualConfig(2, structs.replace(PLAIN, terms=2)).layers == ((0,), (1, 2), (3,), (4, 5))
    many = ResidualConfig(5, structs.replace(PLAIN, terms=4)).layers
    assert len(many) == 16
    assert [s for layer in many for s in layer] == list(range(5 * 7))


@pytest.mark.parametrize(
    "config",
    [SplitConfig(2, SoftVQConfig(32, 4, terms=1)), ResidualConfig(2, structs.replace(PLAIN, terms=1), shared=True)],
    ids=name,
)
def test_the_first_weight_is_one_for_all_parts(config: Any) -> None:
    quantizer, z = built(config, grid=(8, 8))
    best = measured_weight(quantizer, [z, z[:1]])
    assert 0 < best < 1
    assert best == round(best, 2)
    assert measured_weight(quantizer, [z[:1], z]) == best
    again, _ = built(with_first_weight(config, best), grid=(8, 8))
    assert {part.first_weight for part in again.parts} == {best}
    assert not any(part.tally for part in quantizer.parts)
