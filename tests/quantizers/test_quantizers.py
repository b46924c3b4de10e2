"""Quantizers and banks of codebooks: search, gradients, learning, revival and fills, without a network."""

from __future__ import annotations

import pytest
import torch

from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.planes import MISSING
from vqcodec.quantizers import codebook
from vqcodec.quantizers.codebook import CodebookBank, GradientBank, nearest
from vqcodec.quantizers.estimators import ESTIMATORS, noise_substitution, straight_through
from vqcodec.quantizers.product import ProductVQ


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(groups: int = 1, size: int = 8) -> torch.Tensor:
    """Rows [G, 100 K, 4] round K far centres."""
    centres = torch.randn(groups, size, 4, generator=generator()) * 10
    spread = torch.randn(groups, size, 100, 4, generator=generator(1))
    return (centres[:, :, None] + 0.1 * spread).reshape(groups, -1, 4)


def distance(bank: CodebookBank, z: torch.Tensor) -> float:
    return float((z - bank.lookup(nearest(z, bank.codebooks))).square().sum(-1).mean())


def test_nearest_agrees_with_all_distances_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    z, books = torch.randn(3, 50, 4, generator=generator()), torch.randn(3, 20, 4, generator=generator(1))
    expected = torch.cdist(z, books).argmin(-1)
    assert torch.equal(nearest(z, books), expected)
    monkeypatch.setattr(codebook, "SCORES", 3 * 20 * 7)
    assert torch.equal(nearest(z, books), expected)


def test_moving_averages_find_the_means() -> None:
    z, bank = clusters(), CodebookBank(1, 8, 4)
    bank.kmeans(z, generator(3), iterations=20)
    assert distance(bank, z) < 0.4 * (z - z.mean(1, keepdim=True)).square().sum(-1).mean()
    index = nearest(z, bank.codebooks)
    for _ in range(300):
        bank.update(z, index)
    for k in index.unique():
        torch.testing.assert_close(bank.codebooks[0, k], z[0, index[0] == k].mean(0), rtol=1e-3, atol=1e-3)


def test_a_moving_average_step_is_what_it_says() -> None:
    bank = CodebookBank(1, 3, 1, decay=0.9)
    bank.codebooks.copy_(torch.tensor([[[0.0], [10], [20]]]))
    rows = torch.tensor([[[1.0], [3], [12]]])
    bank.update(rows, nearest(rows, bank.codebooks))
    torch.testing.assert_close(bank.counts, torch.tensor([[0.9 + 0.2, 0.9 + 0.1, 0.9]]))
    expected = torch.tensor([[[0.4 / 1.1], [(9 + 1.2) / 1.0], [20.0]]])
    torch.testing.assert_close(bank.codebooks, expected)


@pytest.mark.parametrize("bank", [CodebookBank(1, 8, 4), GradientBank(1, 8, 4)])
def test_dead_codewords_come_back(bank: CodebookBank) -> None:
    z = clusters()
    bank.kmeans(z, generator(3))
    with torch.no_grad():
        bank.codebooks[0, 0] = 1e3
    for _ in range(100):
        bank.update(z, nearest(z, bank.codebooks))
    assert bank.codebooks[0, 0].max() > 900
    assert bank.revive(z, generator(1)) >= 1
    assert bank.codebooks.abs().max() < 60


def test_blend_pulls_what_is_not_used_and_nothing_else() -> None:
    z, bank = clusters(), CodebookBank(1, 8, 4, decay=0.99)
    bank.kmeans(z, generator(3))
    before = bank.codebooks.clone()
    bank.counts.fill_(5.0)
    assert bank.blend(z, generator()) == 0
    assert torch.equal(bank.codebooks, before)
    bank.counts[0, 2] = 0
    assert bank.blend(z, generator()) == 1
    others = [k for k in range(8) if k != 2]
    assert torch.equal(bank.codebooks[0, others], before[0, others])
    # One of the rows, but for exp(-0.001).
    assert torch.cdist(bank.codebooks[:, 2:3], z).min() < 0.002 * z.norm(dim=-1).max()


def test_a_codebook_learned_by_gradient_moves_by_its_loss_alone() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(2, 4, 2), learning="gradient").train()
    z = torch.randn(3, 4, 2, 2, requires_grad=True)
    before = quantizer.bank.codebooks.detach().clone()
    found = quantizer(z, torch.randn_like(z))
    assert torch.equal(quantizer.bank.codebooks, before)
    assert not torch.equal(quantizer.bank.counts, torch.ones(2, 4))
    torch.testing.assert_close(found.codebook, found.commitment)
    books = quantizer.bank.codebooks
    assert torch.autograd.grad(found.commitment, books, retain_graph=True, allow_unused=True) == (None,)
    towards_z, towards_books = torch.autograd.grad(found.codebook, (z, books), allow_unused=True)
    assert towards_z is None
    assert bool((towards_books != 0).any())


def test_both_ways_of_learning_read_each_other_and_older_checkpoints() -> None:
    ema, gradient = (ProductVQ(ProductVQConfig(2, 4, 2), learning) for learning in ("ema", "gradient"))
    assert (
        set(ema.state_dict())
        == set(gradient.state_dict())
        == {"bank.codebooks", "bank.counts", "bank.energy", "lambda_caps", "bit_costs", "lambda_weights", "fill"}
    )
    gradient.load_state_dict({**ema.state_dict(), "bank.sums": torch.zeros(2, 4, 2)})
    assert torch.equal(gradient.bank.codebooks, ema.bank.codebooks)


def test_losses_are_means_over_samples() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(2, 4, 2)).eval()
    z = torch.randn(4, 4, 3, 3)
    whole = quantizer(z, torch.zeros_like(z))
    parts = [quantizer(part, torch.zeros_like(part)) for part in z.split(2)]
    for name in ("commitment", "codebook"):
        mean = torch.stack([getattr(part, name) for part in parts]).mean()
        torch.testing.assert_close(getattr(whole, name), mean)


def test_losses_do_not_depend_on_the_scale() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(2, 4, 2)).eval()
    z = torch.randn(2, 4, 3, 3)
    small = quantizer(z, z).commitment
    quantizer.bank.codebooks *= 100
    quantizer.bank.energy *= 1e4
    torch.testing.assert_close(quantizer(100 * z, z).commitment, small)


def test_training_draws_no_random_numbers() -> None:
    quantizer = ProductVQ(ProductVQConfig(2, 4, 2)).train()
    quantizer.estimate = noise_substitution
    z, state = torch.randn(2, 4, 3, 3), torch.get_rng_state()
    quantizer(z, torch.ones_like(z))
    quantizer.bypass(z, torch.ones_like(z))
    assert torch.equal(torch.get_rng_state(), state)


def test_before_the_codebooks_there_is_only_noise() -> None:
    quantizer = ProductVQ(ProductVQConfig(2, 4, 2)).train()
    z = torch.randn(2, 4, 3, 3)
    found = quantizer.bypass(z, torch.ones_like(z))
    torch.testing.assert_close(found.z_q, z + 0.1)
    assert found.indices == []
    assert found.codebook == 0


def test_estimators_pass_a_gradient_to_z() -> None:
    z = torch.randn(1, 5, 2, requires_grad=True)
    code, noise = torch.randn(1, 5, 2), torch.randn(1, 5, 2)
    torch.testing.assert_close(straight_through(z, code, noise), code)
    found = noise_substitution(z, code, noise)
    torch.testing.assert_close((found - z).norm(dim=-1), (code - z).norm(dim=-1))
    for estimate in (straight_through, noise_substitution):
        (grad,) = torch.autograd.grad(estimate(z, code, noise).sum(), z)
        assert bool((grad != 0).all())


def test_dequantize_fills_what_is_missing() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(3, 5, 2)).eval()
    assert quantizer.fill is not None
    with torch.no_grad():
        quantizer.fill.copy_(torch.tensor([[7.0, 8], [9, 10], [11, 12]]))
    planes = quantizer.quantize(torch.randn(2, 6, 3, 4))
    z_q, kept = quantizer.dequantize(planes)
    assert torch.equal(torch.stack(quantizer.quantize(z_q)), torch.stack(planes))
    assert bool(kept.all())
    planes[1] = torch.full_like(planes[1], MISSING)
    z_q, kept = quantizer.dequantize(planes)
    assert z_q[0, 2:4, 0, 0].tolist() == [9, 10]
    assert kept[:, 1].sum() == 0


def test_normalised_codewords_have_length_one_and_zeros_fill() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(3, 5, 2, normalised=True, fill="zero")).eval()
    z = torch.randn(2, 6, 3, 4) * 7
    planes = quantizer.quantize(z)
    rows, books = (torch.nn.functional.normalize(v, dim=-1) for v in (quantizer.rows(z), quantizer.bank.codebooks))
    assert torch.equal(torch.stack(planes).flatten(1), (rows @ books.transpose(1, 2)).argmax(-1))
    planes[2] = torch.full_like(planes[2], MISSING)
    z_q, _ = quantizer.dequantize(planes)
    lengths = z_q.reshape(2, 3, 2, 3, 4).norm(dim=2)
    torch.testing.assert_close(lengths[:, :2], torch.ones(2, 2, 3, 4))
    assert bool((lengths[:, 2] == 0).all())
    assert not list(quantizer.parameters())


def test_a_rate_makes_cheap_codewords_win_up_to_the_cap() -> None:
    quantizer = ProductVQ(ProductVQConfig(2, 2, 1)).eval()
    quantizer.bank.codebooks.copy_(torch.tensor([[[0.0], [1.0]]] * 2))
    quantizer.bit_costs.copy_(torch.tensor([[0.0, 1.0]] * 2))
    quantizer.lambda_caps[0] = 0.5
    z = torch.full((1, 2, 1, 1), 0.9)  # 0.81 from the cheap codeword, 0.01 from the dear one
    found = {rate: [int(plane) for plane in quantizer.quantize(z, rate)] for rate in (0.0, 0.7, 0.9, 5.0)}
    assert found == {0.0: [1, 1], 0.7: [1, 1], 0.9: [1, 0], 5.0: [1, 0]}
    both = quantizer(z.repeat(2, 1, 1, 1), torch.zeros(2, 2, 1, 1), torch.tensor([0.7, 5.0])).indices
    assert [plane.flatten().tolist() for plane in both] == [[1, 1], [1, 0]]


def test_groups_of_different_width() -> None:
    torch.manual_seed(0)
    quantizer = ProductVQ(ProductVQConfig(3, 4, 2, dims=(1, 2, 4))).eval()
    real = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    quantizer.bank.codebooks *= real[:, None]
    z = torch.randn(2, 7, 3, 5)
    rows = quantizer.rows(z)
    assert rows.shape == (3, 30, 4)
    assert bool((rows * (1 - real[:, None]) == 0).all())
    planes = quantizer.quantize(z)
    z_q, kept = quantizer.dequantize(planes)
    assert (z_q.shape, kept.shape) == ((2, 7, 3, 5), (2, 3, 3, 5))
    assert all(torch.equal(a, b) for a, b in zip(quantizer.quantize(z_q), planes, strict=True))
    for g, part in enumerate(torch.split(z, [1, 2, 4], 1)):
        flat = part.permute(0, 2, 3, 1).reshape(30, -1)
        nearest_one = torch.cdist(flat, quantizer.bank.codebooks[g, :, : part.shape[1]]).argmin(1)
        assert torch.equal(planes[g].flatten(), nearest_one)
    found = quantizer(z, torch.zeros_like(z))
    assert torch.equal(torch.stack(found.indices), torch.stack(planes))


def test_half_and_half_shows_true_codewords_where_there_is_no_noise() -> None:
    z, code, noise = torch.randn(3, 2, 10, 4, generator=torch.Generator().manual_seed(0)).unbind()
    noise[:, :5] = 0
    z.requires_grad_()
    seen = ESTIMATORS["half-and-half"](z, code, noise)
    assert torch.equal(seen[:, :5], code[:, :5])
    assert not torch.isclose(seen[:, 5:], code[:, 5:]).any()
    seen.sum().backward()
    assert z.grad is not None
    assert not z.grad[:, :5].any()
    assert z.grad[:, 5:].all()


def test_balanced_takes_out_what_points_along_the_error() -> None:
    generator = torch.Generator().manual_seed(0)
    z, code, wanted = (torch.randn(2, 3, 20, 4, generator=generator) for _ in range(3))
    z.requires_grad_()
    made = ESTIMATORS["balanced"](z, code, torch.zeros_like(code))
    torch.testing.assert_close(made, code)
    (slope,) = torch.autograd.grad((made * wanted).sum(), z)
    error = (z - code).detach()
    torch.testing.assert_close((slope * error).sum((-2, -1)), torch.zeros(2, 3), atol=1e-4, rtol=0)
    # The removed part of the gradient is parallel to the error.
    left = wanted - slope
    torch.testing.assert_close(left, (left / error).mean((-2, -1), keepdim=True) * error, atol=1e-4, rtol=1e-3)
