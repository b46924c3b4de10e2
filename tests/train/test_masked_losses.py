"""Masked groups left out of the VQ losses and averages, and averages of use that start at zero."""

from __future__ import annotations

import pytest
import torch

from vqcodec.config.model import ConvConfig, TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.quantizers.codebook import CodebookBank, nearest
from vqcodec.quantizers.product import ProductVQ
from vqcodec.tokenizer import Tokenizer
from vqcodec.train.quantization.revival import BLEND_DECAY, usage_filled, usage_from_zero
from vqcodec.train.recipe.load import load_recipe

CONFIG = ProductVQConfig(groups=3, codebook_size=8, dim=2, normalised=True, fill="zero")


def quantizer() -> ProductVQ:
    torch.manual_seed(0)
    return ProductVQ(CONFIG).train()


def latents() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 6, 3, 2, generator=generator), torch.randn(4, 6, 3, 2, generator=generator)


def test_a_masked_group_adds_nothing_to_losses_and_moves_nothing() -> None:
    z, noise = latents()
    kept = torch.ones(4, 3, 3, 2)
    kept[:, 1:] = 0
    one, whole = quantizer(), quantizer()
    before = {name: value.clone() for name, value in one.bank.state_dict().items()}
    part, all_of_it = one(z, noise, None, kept), whole(z, noise)
    alone = ((one.rows(z)[0] - whole.rows(z)[0]) ** 2).sum()
    assert float(alone) == 0
    rows, codes = one.rows(z)[0], quantizer().codebooks[0][part.indices[0].flatten()]
    expected = ((rows - codes) ** 2).sum(1).mean() / 2 / 3  # two channels, one of three groups
    torch.testing.assert_close(part.commitment, expected)
    torch.testing.assert_close(part.codebook, expected)
    assert float(all_of_it.commitment) > float(part.commitment)
    for name, value in one.bank.state_dict().items():
        assert torch.equal(value[1:], before[name][1:]), name
        assert torch.equal(value[0], whole.bank.state_dict()[name][0]), name
        assert not torch.equal(value[0], before[name][0]), name
    assert one.bank.idle is not None
    assert one.bank.idle.tolist() == [False, True, True]


def test_what_one_sample_keeps_counts_for_that_sample() -> None:
    z, noise = latents()
    kept = torch.ones(4, 3, 3, 2)
    kept[1:] = 0
    one, other = quantizer(), quantizer()
    some, sample = one(z, noise, None, kept), other(z[:1], noise[:1])
    torch.testing.assert_close(some.commitment * 4, sample.commitment)
    torch.testing.assert_close(one.bank.codebooks, other.bank.codebooks)
    torch.testing.assert_close(one.bank.counts, other.bank.counts)
    torch.testing.assert_close(one.bank.energy, other.bank.energy)


@pytest.mark.parametrize("draws", [1, 2])
def test_the_tokenizer_passes_what_any_draw_keeps(draws: int) -> None:
    torch.manual_seed(0)
    model = Tokenizer(TokenizerConfig(16, ConvConfig((8, 8), (1, 1), (1, 1)), CONFIG)).train()
    x, noise = torch.rand(2, 3, 32, 32) * 2 - 1, torch.zeros(2, 6, 2, 2)
    kept = torch.ones(draws * 2, 3, 2, 2)
    kept[-2:, 1:] = 0  # the last draw
    model.quantizer.only_kept = True
    before = model.quantizer.bank.counts.clone()
    model(x, kept, noise)
    assert torch.equal(model.quantizer.bank.counts[2], before[2]) is (draws == 1)
    assert not torch.equal(model.quantizer.bank.counts[0], before[0])


def test_an_idle_group_is_not_blended() -> None:
    bank = CodebookBank(2, 4, 2, decay=0.99)
    bank.counts.zero_()
    rows = torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(0))
    counted = torch.ones(2, 32)
    counted[1] = 0
    bank.update(rows, nearest(rows, bank.codebooks), counted)
    before = bank.codebooks.clone()
    bank.blend(rows, torch.Generator().manual_seed(0), 0.01)
    assert torch.equal(bank.codebooks[1], before[1])
    assert torch.isfinite(bank.codebooks).all()


def test_use_from_zero_is_the_average_of_the_release() -> None:
    """p <- p + 0.01 (use of the batch - p) from p = 0; a codeword moves by exp(-p K 10 / 0.01 - 0.001)."""
    recipe = load_recipe("mgvq-f16-g4")
    assert usage_from_zero(recipe)
    bank = CodebookBank(1, 4, 2, decay=BLEND_DECAY)
    bank.counts.zero_()
    p = torch.zeros(4)
    generator = torch.Generator().manual_seed(3)
    for step in range(3):
        rows = torch.randn(1, 64, 2, generator=generator)
        index = nearest(rows, bank.codebooks)
        p = p.lerp(torch.bincount(index[0], minlength=4) / 64, 0.01)
        bank.update(rows, index)
        share = usage_filled(recipe, step) * bank.counts / bank.counts.sum()
        torch.testing.assert_close(share[0], p)
    weight = torch.exp(-p * 4 * 10 / 0.01 - 0.001)
    row = torch.full((1, 1, 2), 7.0)
    before = bank.codebooks.clone()
    bank.blend(row, generator, usage_filled(recipe, 2))
    torch.testing.assert_close(bank.codebooks[0], before[0].lerp(row[0], weight[:, None]))


def test_use_does_not_start_at_zero_after_k_means_or_from_a_model() -> None:
    for change in ("codebook.kmeans_at=10", "start_from=photo", "codebook.revival=replace"):
        recipe = load_recipe("mgvq-f16-g4", [change])
        assert not usage_from_zero(recipe)
        assert usage_filled(recipe, 0) == 1


def test_the_published_mgvq_recipes_leave_masked_groups_out() -> None:
    assert load_recipe("mgvq-f8-g8").masking.losses == "kept"
    assert load_recipe("xqgan-vq-4096").masking.losses == "all"
