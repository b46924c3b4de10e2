"""Quantizers of the four papers without a network: indices and back, levels, bits, stages, parts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.config.quantizers import (
    BinaryConfig,
    FSQConfig,
    MultiScaleConfig,
    QuantizerConfig,
    ResidualConfig,
    SplitConfig,
    VQConfig,
    mixtures_of,
)
from vqcodec.planes import MISSING
from vqcodec.quantizers.base import rows_of
from vqcodec.quantizers.build import build_code

from ..codes import EVERY, VQ, built, name

CODES = [config for config in EVERY if isinstance(config, VQConfig | BinaryConfig | FSQConfig)]


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_planes_are_as_the_configuration_says(config: QuantizerConfig) -> None:
    assert not list(config.problems())
    quantizer, z = built(config)
    with torch.no_grad():
        planes = quantizer.quantize(z)
        z_q, kept = quantizer.dequantize(planes)
        again, _ = quantizer.dequantize([plane.clone() for plane in planes])
    assert tuple(plane.shape[1:] for plane in planes) == config.shapes((4, 4))
    assert quantizer.sizes == config.sizes
    for plane, size in zip(planes, config.sizes, strict=True):
        assert plane.dtype == torch.int64
        assert 0 <= int(plane.min()) <= int(plane.max()) < size
    assert [s for layer in config.layers for s in layer] == list(range(len(planes)))
    assert len(config.layers) <= 16
    assert z_q.shape == z.shape
    assert kept.shape == (2, config.groups, 4, 4)
    torch.testing.assert_close(kept, torch.ones_like(kept))
    assert torch.equal(z_q, again)


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_what_training_sees_is_what_the_codec_sees(config: QuantizerConfig) -> None:
    quantizer, z = built(config)
    z.requires_grad_()
    found = quantizer(z, torch.zeros_like(z))
    planes = quantizer.quantize(z)
    for seen, plane in zip(found.indices, planes, strict=False):
        assert torch.equal(seen, plane)
    if mixtures_of(config) is None:
        assert len(found.indices) == len(planes)
        torch.testing.assert_close(found.z_q, quantizer.dequantize(planes)[0], atol=1e-5, rtol=1e-5)
    quantizer.train()
    found = quantizer(z, torch.zeros_like(z))
    (gradient,) = torch.autograd.grad(found.z_q.square().sum(), z)
    assert bool((gradient != 0).any())


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_a_layer_more_never_leaves_the_others_out(config: QuantizerConfig) -> None:
    """A prefix of ordered layers decodes, and `kept` marks the layers of the prefix."""
    if config.fill == "none":
        assert len(config.layers) == 1
        return
    quantizer, z = built(config)
    with torch.no_grad():
        planes = quantizer.quantize(z)
        whole, _ = quantizer.dequantize(planes)
        shares = []
        for keep in range(len(config.layers) + 1):
            shown = {s for layer in config.layers[:keep] for s in layer}
            prefix = [p if s in shown else torch.full_like(p, MISSING) for s, p in enumerate(planes)]
            z_q, kept = quantizer.dequantize(prefix)
            shares.append(float(kept.mean()))
            if keep == 0:
                assert bool((z_q == 0).all())
    assert torch.equal(z_q, whole)
    assert shares == sorted(set(shares))
    assert (shares[0], round(shares[-1], 5)) == (0, 1)


@pytest.mark.parametrize("config", CODES, ids=name)
def test_every_codeword_is_nearest_to_itself(config: Any) -> None:
    torch.manual_seed(0)
    code = build_code(config).eval()
    index = torch.arange(config.codebook_size)
    assert torch.equal(code.choose(code.codewords(index)), index)


@given(st.lists(st.integers(2, 7), min_size=1, max_size=4), st.integers(0, 2**31))
@settings(max_examples=25)
def test_levels_are_the_nearest_of_the_bounded_latent(levels: list[int], seed: int) -> None:
    code = build_code(FSQConfig(tuple(levels)))
    rows = torch.randn(40, len(levels), generator=torch.Generator().manual_seed(seed)) * 3
    bounded, index = code.project(rows), code.choose(code.project(rows))
    words = code.codewords(index)
    for i, n in enumerate(levels):
        values = (torch.arange(n) - n // 2) / (n // 2)
        nearest = (bounded[:, i, None] - values).abs().min(1).values
        torch.testing.assert_close((bounded[:, i] - words[:, i]).abs(), nearest)
    assert int(index.max()) < math.prod(levels)


def test_bits_are_little_endian_and_zero_is_negative() -> None:
    code = build_code(BinaryConfig(4))
    rows = torch.tensor([[0.3, -1, 0, 2], [-1, 2, 1, -5]])
    assert code.choose(rows).tolist() == [1 + 8, 2 + 4]
    assert code.codewords(torch.tensor([9])).tolist() == [[1, -1, -1, 1]]
    sphere = build_code(BinaryConfig(4, spherical=True))
    torch.testing.assert_close(sphere.codewords(torch.arange(16)).norm(dim=1), torch.ones(16))


@given(st.integers(0, 2**31), st.integers(1, 5))
@settings(max_examples=20)
def test_binary_entropy_is_that_of_all_codewords(seed: int, bits: int) -> None:
    """The closed form equals the sum over all codewords; for one sample both entropies are equal."""
    code = build_code(BinaryConfig(bits))
    rows = torch.randn(1, bits, generator=torch.Generator().manual_seed(seed))
    every = code.codewords(torch.arange(2**bits))
    p = torch.softmax(-(rows[:, None] - every).square().sum(-1), -1)
    entropy = -(p * p.log()).sum()
    torch.testing.assert_close(code.entropy(rows), torch.zeros(()), atol=1e-5, rtol=0)
    opposite = torch.cat([rows, -rows])
    torch.testing.assert_close(code.entropy(opposite), entropy - bits * math.log(2), atol=1e-4, rtol=1e-4)


def test_stages_come_closer_with_every_one() -> None:
    quantizer, z = built(ResidualConfig(6, FSQConfig((5, 5))), grid=(6, 6))
    planes = quantizer.quantize(z)
    aim = quantizer.codes[0].project(rows_of(z))
    errors = []
    for keep in range(1, 7):
        prefix = [p if s < keep else torch.full_like(p, MISSING) for s, p in enumerate(planes)]
        errors.append(float((rows_of(quantizer.dequantize(prefix)[0]) - aim).abs().max()))
    assert all(b <= a / 3.9 for a, b in zip(errors, errors[1:], strict=False)), errors


def test_quantizer_dropout_comes_from_the_noise_and_spares_the_rest() -> None:
    quantizer, _ = built(ResidualConfig(5, VQ, dropout=0.5, dropout_start=2))
    z = torch.randn(64, 4, 2, 2)
    noise, state = torch.randn(64, 4, 2, 2), torch.get_rng_state()
    found = quantizer.train()(z, noise)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found.kept, quantizer(z, noise).kept)
    stages = (found.kept[:, 0, 0, 0] * 5).round().int().tolist()
    assert set(stages[:32]) == {2, 3, 4, 5}
    assert set(stages[32:]) == {5}
    assert bool((quantizer.eval()(z, noise).kept == 1).all())
    for sample in range(8):
        prefix = [
            plane[sample, None] if s < stages[sample] else torch.full_like(plane[sample, None], MISSING)
            for s, plane in enumerate(found.indices)
        ]
        torch.testing.assert_close(quantizer.dequantize(prefix)[0][0], found.z_q[sample], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("over", ["channels", "tokens"])
@pytest.mark.parametrize(
    "part",
    [
        MultiScaleConfig((1, 1, 2, 3, 4), VQ, dropout=0.5, dropout_start=2),
        ResidualConfig(5, VQ, dropout=0.5, dropout_start=2),
        ResidualConfig(5, BinaryConfig(4), dropout=0.5, dropout_start=2),
    ],
    ids=name,
)
def test_branches_share_the_quantizer_dropout(part: MultiScaleConfig | ResidualConfig, over: Any) -> None:
    """XQ-GAN, section 7.1: "all branches will share the same dropout schedule"."""
    quantizer, _ = built(SplitConfig(2, part, over))
    z, noise = torch.randn(2, 64, quantizer.parts[0].codes[0].dim * (2 if over == "channels" else 1), 4, 4)
    kept = quantizer.train()(z, noise).kept
    # The share of stages that each branch keeps, constant over its own part of the channels or of the tokens.
    shares = kept[:, :, 0, 0] if over == "channels" else kept[:, 0].flatten(1)[:, [0, -1]]
    assert torch.equal(shares[:, 0], shares[:, 1])
    assert set((5 * shares[:32, 0]).round().int().tolist()) == {2, 3, 4, 5}
    assert set(shares[32:, 0].tolist()) == {1.0}


def test_parts_are_quantized_each_for_itself() -> None:
    quantizer, z = built(SplitConfig(2, ResidualConfig(2, VQ)))
    planes = quantizer.quantize(z)
    apart = [part.quantize(x) for part, x in zip(quantizer.parts, z.chunk(2, 1), strict=True)]
    # Layer by layer: the first stage of both parts, then the second.
    assert all(torch.equal(a, b) for a, b in zip(planes, [apart[p][s] for s in (0, 1) for p in (0, 1)], strict=True))
    z_q, _ = quantizer.dequantize(planes)
    for p, part in enumerate(quantizer.parts):
        assert torch.equal(z_q.chunk(2, 1)[p], part.dequantize(apart[p])[0])


def test_runs_of_tokens_have_codebooks_of_their_own() -> None:
    quantizer, z = built(SplitConfig(2, VQ, over="tokens"))
    first, second = quantizer.quantize(z)
    assert first.shape == second.shape == (2, 8)
    assert torch.equal(first, quantizer.parts[0].quantize(z.flatten(2)[..., :8])[0])
    assert torch.equal(second, quantizer.parts[1].quantize(z.flatten(2)[..., 8:])[0])


def test_entropy_is_low_for_sure_and_even_choices() -> None:
    quantizer, _ = built(VQConfig(4, 2))
    quantizer.want_entropy()
    quantizer.bank.codebooks.data.copy_(torch.tensor([[[1.0, 0], [-1, 0], [0, 1], [0, -1]]]))
    even = quantizer.bank.codebooks[0].T[None].clone()
    one = torch.ones(1, 2, 4) * torch.tensor([1.0, 0])[:, None]
    low, high = (float(quantizer(z, z).entropy.detach()) for z in (even, one))
    assert low == pytest.approx(-math.log(4), abs=1e-3)
    assert high == pytest.approx(0, abs=1e-3)
    assert built(VQConfig(4, 2))[0](even, even).entropy is None
