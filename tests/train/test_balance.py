"""Lambda weights from quantization errors, and refitting of the codebooks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.errors import UsageError
from vqcodec.quantizers.product import NO_CAP, ProductVQ
from vqcodec.train.quantization.product_codebooks import draw_rates
from vqcodec.train.quantization.rate_balance import LEAST_GAIN, balance, replacement_gains
from vqcodec.train.recipe.load import load_recipe

SCALES = torch.tensor([3.0, 1.0, 1.0, 0.2, 0.2, 0.2])
RATE = 0.02


def model_of(refinements: tuple[int, ...] = ()) -> SimpleNamespace:
    """Three groups of 1, 2 and 3 channels; the decoder makes a pixel of each, so that the gains follow by hand."""
    torch.manual_seed(0)
    quantizer = ProductVQ(
        ProductVQConfig(groups=3, codebook_size=16, dim=3, dims=(1, 2, 3), fill="none", refinements=refinements)
    )
    quantizer.lambda_weights[:3] = 0.05
    quantizer.lambda_caps[0] = 0.5
    return SimpleNamespace(quantizer=quantizer, decoder=lambda z, kept: z * SCALES[None, :, None, None])


def latents(count: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """x, z and rates of `count` crops."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(count, 6, 8, 8, generator=generator)
    return z * SCALES[None, :, None, None], z, draw_rates(count, 1.0, 16.0, generator)


@pytest.mark.parametrize("refinements", [(), (2, 4)])
def test_gains_are_those_of_the_decoder(refinements: tuple[int, ...]) -> None:
    torch.testing.assert_close(replacement_gains(model_of(refinements), *latents()), torch.tensor([9.0, 1.0, 0.04]))


def lagrangian(quantizer: ProductVQ, x: Tensor, z: Tensor, rates: Tensor) -> float:
    """Squared error of the pixels + RATE * bits, with bits under the codewords' own use."""
    planes = quantizer.nearest_planes(z, rates)
    code, _ = quantizer.dequantize(planes)
    total = ((z - code) * SCALES[None, :, None, None]).square().sum((1, 2, 3))
    for plane in planes:
        use = torch.bincount(plane.flatten(), minlength=16).float()
        total = total - RATE * rates * (use / use.sum()).log2()[plane].sum((1, 2))
    return float(total.mean())


def test_codebooks_come_into_balance() -> None:
    model, (x, z, rates) = model_of(), latents(40)
    quantizer = model.quantizer
    quantizer.bank.kmeans(quantizer.rows(z), torch.Generator().manual_seed(0))
    quantizer.lambda_weights[:] = RATE / SCALES[[0, 1, 3]].square()
    quantizer.lambda_caps.fill_(NO_CAP)
    before = lagrangian(quantizer, x, z, rates)
    quantizer.lambda_weights[:], quantizer.lambda_caps[0] = 0.05, 0.5
    balance(model, x, z, rates, RATE)  # type: ignore[arg-type]
    torch.testing.assert_close(quantizer.lambda_weights, RATE / torch.tensor([9.0, 1.0, 0.04]))
    assert quantizer.lambda_caps[0] == 0.5
    assert quantizer.lambda_caps[1] == NO_CAP
    quantizer.lambda_caps.fill_(NO_CAP)
    assert lagrangian(quantizer, x, z, rates) < 0.9 * before
    # A codeword that costs more bits than it saves is not selected at all, even at rate 0.
    assert 1 < quantizer.nearest_planes(z, torch.zeros(1))[2].unique().numel() < 16


def test_rates_are_even_in_the_logarithm() -> None:
    rates = draw_rates(500, 0.25, 16.0, torch.Generator().manual_seed(0))
    assert 0.25 <= rates.min() < 0.27
    assert 15 < rates.max() <= 16
    assert 1.7 < rates.median() < 2.35


def test_errors_that_do_not_show_are_refused() -> None:
    model = model_of()
    model.decoder = lambda z, kept: z * 0
    with pytest.raises(UsageError, match="no error of a codeword shows"):
        replacement_gains(model, *latents())  # type: ignore[arg-type]


def test_a_group_that_shows_nothing_keeps_codewords_of_some_price() -> None:
    model, (x, z, rates) = model_of(), latents(40)
    quantizer = model.quantizer
    quantizer.bank.kmeans(quantizer.rows(z), torch.Generator().manual_seed(0))
    shown = SCALES * torch.tensor([1, 1, 1, 0, 0, 0])
    model.decoder = lambda z, kept: z * shown[None, :, None, None]
    balance(model, x * (shown / SCALES)[None, :, None, None], z, rates, RATE)  # type: ignore[arg-type]
    torch.testing.assert_close(quantizer.lambda_weights, torch.tensor([RATE / 9, RATE, 0.05 / LEAST_GAIN]))
    assert torch.isfinite(quantizer.bit_costs.half()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("codebook.rate=0.0", r"a balance needs codebook\.rate"),
        ("tokenizer.quantizer.normalised=true", "codewords of any length"),
        ("tokenizer.quantizer.refinements=[6,6,10]", "add refinements"),
    ],
)
def test_recipes_that_cannot_be_balanced(change: str, message: str) -> None:
    frozen = ['codebook.refit=["balance"]', "start_from=runs/x", 'optimizer.frozen=["encoder","quantizer"]']
    more = ["optimizer.estimator=codewords", "codebook.rate=1.0", "codebook.kmeans_at=0", 'codebook.revival="none"']
    with pytest.raises(UsageError, match=message):
        load_recipe("tiny", [*frozen, *more, change])
