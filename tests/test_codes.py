"""Quantizers of the four papers without a network: indices and back, stages, scales, parts, mixtures, losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqcodec.config import MISSING, ConvConfig, TokenizerConfig, check_tokenizer, from_dict
from vqcodec.errors import ModelError
from vqcodec.quantizer_config import (
    BinaryConfig,
    FSQConfig,
    GMMVQConfig,
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
    VQConfig,
    layered,
)
from vqcodec.quantizers.base import rows_of
from vqcodec.quantizers.build import build_code, build_quantizer
from vqcodec.quantizers.soft import nearest_weight, weight_of

VQ = VQConfig(16, 4, "cosine")
EVERY: tuple[QuantizerConfig, ...] = (
    ProductVQConfig(3, 8, 2),
    VQConfig(16, 4),
    VQConfig(16, 4, "unit"),
    VQ,
    BinaryConfig(5),
    BinaryConfig(5, spherical=True),
    FSQConfig((2, 3, 4, 5)),
    ResidualConfig(3, VQConfig(8, 4)),
    ResidualConfig(3, VQ, shared=True),
    ResidualConfig(4, BinaryConfig(3, spherical=True, scale=0.5)),
    ResidualConfig(20, FSQConfig((4, 5))),
    MultiScaleConfig((1, 2, 4), VQ),
    MultiScaleConfig((1, 2, 3, 4), BinaryConfig(4), convolutions=2),
    MultiScaleConfig((2, 4), FSQConfig((3, 3)), convolutions=0),
    SplitConfig(2, VQConfig(16, 3, "unit")),
    SplitConfig(3, ResidualConfig(2, BinaryConfig(2, scale=0.5))),
    SplitConfig(2, MultiScaleConfig((1, 2, 4), VQ)),
    SplitConfig(2, VQ, over="tokens"),
    SoftVQConfig(16, 4, segments=2),
    SoftVQConfig(16, 4, normalised=False, terms=1),
    GMMVQConfig(16, 4, terms=3),
)
CODES = [config for config in EVERY if isinstance(config, VQConfig | BinaryConfig | FSQConfig)]


def name(config: QuantizerConfig) -> str:
    inner = getattr(config, "base", getattr(config, "part", None))
    return config.kind if inner is None else f"{config.kind}-{inner.kind}"


def built(config: QuantizerConfig, seed: int = 0, grid: tuple[int, ...] = (4, 4)) -> tuple[Any, Tensor]:
    torch.manual_seed(seed)
    quantizer: Any = build_quantizer(config, "gradient").eval()
    if isinstance(config, SplitConfig):
        quantizer.window_grid = grid
    return quantizer, torch.randn(2, config.channels, *grid)


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
    if not isinstance(config, SoftVQConfig):
        assert len(found.indices) == len(planes)
        torch.testing.assert_close(found.z_q, quantizer.dequantize(planes)[0], atol=1e-5, rtol=1e-5)
    quantizer.train()
    found = quantizer(z, torch.zeros_like(z))
    (gradient,) = torch.autograd.grad(found.z_q.square().sum(), z)
    assert bool((gradient != 0).any())


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_a_layer_more_never_leaves_the_others_out(config: QuantizerConfig) -> None:
    """Of ordered layers a prefix decodes, and `kept` tells how long it is."""
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
@settings(max_examples=25, deadline=None)
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
@settings(max_examples=20, deadline=None)
def test_binary_entropy_is_that_of_all_codewords(seed: int, bits: int) -> None:
    """By listing them; of one sample, it is the entropy of the mean as well."""
    code = build_code(BinaryConfig(bits))
    rows = torch.randn(1, bits, generator=torch.Generator().manual_seed(seed))
    every = code.codewords(torch.arange(2**bits))
    p = torch.softmax(-(rows[:, None] - every).square().sum(-1), -1)
    entropy = -(p * p.log()).sum()
    torch.testing.assert_close(code.entropy(rows), torch.zeros(()), atol=1e-5, rtol=0)
    opposite = torch.cat([rows, -rows])
    torch.testing.assert_close(code.entropy(opposite), entropy - bits * math.log(2), atol=1e-4, rtol=1e-4)


def enlarged(plane: np.ndarray, side: int) -> np.ndarray:
    """Bicubic interpolation with a = -0.75 and borders repeated, [h, h] -> [side, side], by its definition."""

    def weight(x: float) -> float:
        x, a = abs(x), -0.75
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    n = len(plane)
    matrix = np.zeros((side, n))
    for i in range(side):
        at = (i + 0.5) * n / side - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[i, min(max(tap, 0), n - 1)] += weight(at - tap)
    return matrix @ plane @ matrix.T


def shrunk(plane: np.ndarray, n: int) -> np.ndarray:
    """Mean over the area under each of n x n cells."""
    side = len(plane)
    cuts = [(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]
    return np.array([[plane[a:b, c:d].mean() for c, d in cuts] for a, b in cuts])


def convolved(planes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    side = planes.shape[1]
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    found = np.zeros_like(planes)
    for dy in range(3):
        for dx in range(3):
            found += np.einsum("oc,chw->ohw", weight[:, :, dy, dx], padded[:, dy : dy + side, dx : dx + side])
    return found + bias[:, None, None]


@pytest.mark.parametrize("base", [VQ, BinaryConfig(4)], ids=["vq", "binary"])
def test_scales_by_their_definition(base: Any) -> None:
    """In numpy and loops: shrink, choose, enlarge, mend, subtract."""
    scales = (1, 2, 3, 5)
    torch.manual_seed(3)
    quantizer: Any = build_quantizer(MultiScaleConfig(scales, base)).eval()
    z = torch.randn(1, 4, 5, 5)
    planes = quantizer.quantize(z)
    rest, total = z[0].double().numpy(), np.zeros((4, 5, 5))
    for stage, (side, mend) in enumerate(zip(scales, (0, 1, 2, 3), strict=True)):
        low = rest if side == 5 else np.stack([shrunk(plane, side) for plane in rest])
        rows = low.reshape(4, -1).T
        if isinstance(base, BinaryConfig):
            index = ((rows > 0) * 2 ** np.arange(4)).sum(1)
            words = np.where(rows > 0, 1.0, -1.0)
        else:
            book = quantizer.codes[0].bank.codebooks[0].double().numpy()
            index = (rows @ (book / np.linalg.norm(book, axis=1, keepdims=True)).T).argmax(1)
            words = book[index]
        assert planes[stage].flatten().tolist() == index.tolist()
        wide = words.T.reshape(4, side, side)
        wide = wide if side == 5 else np.stack([enlarged(plane, 5) for plane in wide])
        conv = quantizer.mends[mend]
        wide = 0.5 * wide + 0.5 * convolved(wide, conv.weight.detach().double().numpy(), conv.bias.detach().numpy())
        rest, total = rest - wide, total + wide
    torch.testing.assert_close(quantizer.dequantize(planes)[0][0].double(), torch.from_numpy(total), atol=1e-4, rtol=0)


def test_scales_of_grids_that_are_not_square() -> None:
    config = MultiScaleConfig((1, 2, 4), VQ)
    assert config.shapes((8, 6)) == ((2, 2), (4, 3), (8, 6))
    assert config.shapes((9,)) == ((2,), (5,), (9,))
    quantizer, _ = built(config)
    z = torch.randn(1, 4, 9)
    planes = quantizer.quantize(z)
    assert quantizer.dequantize(planes)[0].shape == z.shape


def test_four_convolutions_over_ten_scales() -> None:
    quantizer: Any = build_quantizer(MultiScaleConfig((1, 1, 2, 3, 3, 4, 5, 6, 8, 11), VQ))
    assert quantizer.mend_of == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


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


def test_layers_beyond_sixteen_are_taken_together() -> None:
    assert layered(3) == ((0,), (1,), (2,))
    many = layered(20)
    assert len(many) == 16
    assert many[0] == (0, 1)
    assert many[-1] == (19,)


def tokenizer(quantizer: dict[str, Any], **more: Any) -> TokenizerConfig:
    backbone = {"widths": [8, 8], "encoder_depths": [1, 1], "decoder_depths": [1, 1]}
    return from_dict(TokenizerConfig, {"stride": 16, "backbone": backbone, "quantizer": quantizer, **more}, "recipe")


BASE = {"kind": "vq", "codebook_size": 16, "dim": 4}


@pytest.mark.parametrize(
    ("quantizer", "more", "message"),
    [
        ({"kind": "vqq"}, {}, "'vqq' is not one of product-vq, vq, binary, fsq, residual, multi-scale, split, soft-vq"),
        ({**BASE, "codebook_size": 2**16 + 1}, {}, r"quantizer\.codebook_size must be 1\.\.65536"),
        ({"kind": "binary", "bits": 17}, {}, r"quantizer\.bits: 1\.\.16"),
        ({"kind": "fsq", "levels": [4, 1]}, {}, r"quantizer\.levels: at least 2"),
        ({"kind": "residual", "stages": 0, "base": BASE}, {}, r"stages: 1\.\."),
        ({"kind": "residual", "stages": 2, "base": {**BASE, "metric": "unit"}}, {}, "no unit length"),
        ({"kind": "residual", "stages": 2, "base": {**BASE, "stages": 2}}, {}, "unknown key 'stages'"),
        ({"kind": "multi-scale", "scales": [2, 1], "base": BASE}, {}, "none smaller than the one before"),
        ({"kind": "multi-scale", "scales": [], "base": BASE}, {}, r"scales: 1\.\."),
        ({"kind": "multi-scale", "scales": [1, 2], "base": BASE}, {}, r"\.window: needed"),
        ({"kind": "split", "parts": 2, "part": BASE, "over": "tokens"}, {}, r"\.window: needed"),
        ({"kind": "split", "parts": 3, "part": BASE, "over": "tokens"}, {"window": 64}, "do not divide the 16 tokens"),
        ({"kind": "soft-vq", "codebook_size": 8, "dim": 4, "segments": 3}, {"window": 64}, "segments: do not divide"),
        ({"kind": "soft-vq", "codebook_size": 8, "dim": 4, "terms": 17}, {}, r"terms: 1\.\.16"),
        (BASE, {"window": 40}, r"\.window: multiples of 16"),
        (BASE, {"window": 64, "overlap": 33}, "at most half of the window"),
        (BASE, {"overlap": 8}, "at most half of the window"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(quantizer: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        check_tokenizer(tokenizer(quantizer, **more), "recipe")
    assert "\n" not in str(refused.value)


def test_a_product_of_residual_parts_reads_from_a_file() -> None:
    config = tokenizer({"kind": "split", "parts": 2, "part": {"kind": "residual", "stages": 3, "base": BASE}})
    assert config.quantizer == SplitConfig(2, ResidualConfig(3, VQConfig(16, 4)))
    assert isinstance(config.backbone, ConvConfig)
    assert config.quantizer.layers == ((0, 1), (2, 3), (4, 5))
    check_tokenizer(config, "recipe")
