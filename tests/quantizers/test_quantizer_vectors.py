"""Quantizers of XQ-GAN and SoftVQ-VAE against the authors' reference values: indices, latents, losses, gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vqcodec.config.quantizers import BinaryConfig, MultiScaleConfig, SoftVQConfig, VQConfig
from vqcodec.planes import MISSING
from vqcodec.quantizers.build import build_quantizer

VECTORS = Path(__file__).parents[3] / "shared" / "reference" / "vectors"
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"needs the authors' numbers in {VECTORS}")

Numbers = Callable[[str], Tensor]
BETA = 0.25
"""Weight of every commitment loss in the released code."""


def numbers(name: str) -> Numbers:
    held = np.load(VECTORS / f"{name}.npz")
    return lambda key: torch.from_numpy(held[key])


def scales_of(of: Numbers) -> tuple[int, ...]:
    """Sides of the planes, taken from their shapes."""
    sides = []
    while True:
        try:
            sides.append(of(f"out/indices_{len(sides)}").shape[-1])
        except KeyError:
            return tuple(sides)


def multi_scale(name: str, base: VQConfig | BinaryConfig) -> tuple[Numbers, Any]:
    of = numbers(name)
    quantizer: Any = build_quantizer(MultiScaleConfig(scales_of(of), base, dropout=0.5), "gradient")
    state = {
        f"mends.{i}.{part}": of(f"sd/quant_resi.qresi_ls.{i}.{part}") for i in range(4) for part in ("weight", "bias")
    }
    if isinstance(base, VQConfig):
        state |= {"codes.0.bank.codebooks": of("sd/embedding.weight")[None]}
    found = quantizer.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert all(".counts" in key or ".energy" in key for key in found.missing_keys)
    return of, quantizer


CASES = [
    ("xq_msrq_l2", VQConfig(64, 8, "cosine")),
    ("xq_msrq_raw", VQConfig(64, 8)),
    ("xq_ms_lfq", BinaryConfig(8)),
]


@pytest.mark.parametrize(("name", "metric"), [("xq_vq_l2", "unit"), ("xq_vq_raw", "euclidean")])
def test_plain_vector_quantization(name: str, metric: Any) -> None:
    of = numbers(name)
    codebook = of("sd/embedding.weight")
    quantizer: Any = build_quantizer(VQConfig(*codebook.shape, metric)).eval()
    quantizer.bank.codebooks.copy_(codebook[None])
    planes = quantizer.quantize(of("z"))
    assert torch.equal(planes[0], of("out/indices").long())
    torch.testing.assert_close(quantizer.dequantize(planes)[0], of("out/fhat"), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "base"), CASES)
def test_every_scale_and_every_prefix_of_them(name: str, base: VQConfig | BinaryConfig) -> None:
    of, quantizer = multi_scale(name, base)
    with torch.no_grad():
        planes = quantizer.eval().quantize(of("z"))
        for i, plane in enumerate(planes):
            assert torch.equal(plane, of(f"out/indices_{i}").long()), i
            prefix = [p if s <= i else torch.full_like(p, MISSING) for s, p in enumerate(planes)]
            z_q, kept = quantizer.dequantize(prefix)
            torch.testing.assert_close(z_q, of(f"out/fhat_{i}"), atol=1e-5, rtol=0)
            torch.testing.assert_close(kept, torch.full_like(kept, (i + 1) / len(planes)))


def test_which_convolution_a_scale_takes() -> None:
    of, quantizer = multi_scale(*CASES[0])
    assert quantizer.mend_of == of("phi_choice").tolist()


@pytest.mark.parametrize(("name", "base"), CASES)
def test_losses_with_scales_left_out_and_their_gradients(name: str, base: VQConfig | BinaryConfig) -> None:
    of, quantizer = multi_scale(name, base)
    quantizer.train().want_entropy()
    # Upstream takes a mask of 0 and 1 for numbers of samples when it looks at entropies.
    quantizer.samples = lambda shown: shown.long()
    z = of("z").clone().requires_grad_()
    kept = of("train/dropout").clone()
    kept[len(kept) // 2 :] = quantizer.stages
    found = quantizer(z, torch.zeros_like(z), stages_kept=kept)
    torch.testing.assert_close(found.z_q, of("train/fhat"), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.codebook, of("train/vq_loss"), atol=1e-5, rtol=0)
    if isinstance(base, BinaryConfig):
        torch.testing.assert_close(BETA * found.commitment, of("train/commit_loss"), atol=1e-5, rtol=0)
        torch.testing.assert_close(0.1 * found.entropy, of("train/entropy_loss"), atol=1e-5, rtol=0)
        return
    # Over the scales the released code sums the commitment of codebooks and averages that of binary codes; this codec
    # averages both.
    commitment = BETA * quantizer.stages * found.commitment
    torch.testing.assert_close(commitment, of("train/commit_loss"), atol=1e-5, rtol=0)
    (found.codebook + commitment).backward()
    torch.testing.assert_close(z.grad, of("train/grad_z"), atol=1e-6, rtol=0)
    codebooks = quantizer.codes[0].bank.codebooks
    torch.testing.assert_close(codebooks.grad[0], of("train/grad_embedding"), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "normalised"), [("softvq_k1_l2", True), ("softvq_k4_raw", False)])
def test_mixtures_of_codewords(name: str, normalised: bool) -> None:
    of = numbers(name)
    segments, size, dim = of("sd/embedding").shape
    quantizer: Any = build_quantizer(SoftVQConfig(size, dim, segments, normalised=normalised)).train()
    quantizer.load_state_dict({"codebooks": of("sd/embedding")})
    quantizer.want_entropy()
    z = of("z").transpose(1, 2).clone().requires_grad_()
    found = quantizer(z, torch.zeros_like(z))
    torch.testing.assert_close(found.z_q, of("out/z_q").transpose(1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(0.01 * found.entropy, of("train/entropy_loss"), atol=1e-5, rtol=0)
    # Upstream lays indices out segment by segment over the whole batch.
    batch, _, tokens = z.shape
    plane = found.indices[0].reshape(batch, segments, tokens // segments).transpose(0, 1)
    assert torch.equal(plane.flatten(), of("out/indices").long().flatten())
    assert torch.equal(quantizer.quantize(z)[0], found.indices[0])
    (found.z_q * of("train/w").transpose(1, 2)).sum().backward()
    torch.testing.assert_close(z.grad, of("train/grad_z").transpose(1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(quantizer.codebooks.grad, of("train/grad_embedding"), atol=1e-5, rtol=0)
