"""The discriminators StyleGAN and DINO, their losses, differentiable augmentation, and the adversary with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vqcodec.train.adversarial.adversary import CHANCES, Adversary
from vqcodec.train.adversarial.augment import NUMBERS, augment, colour, cutout, translate, view
from vqcodec.train.adversarial.dino_discriminator import (
    DinoDiscriminator,
    VirtualBatchNorm,
    depths_of,
    token_batch_norm,
)
from vqcodec.train.adversarial.losses import (
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    consistency_loss,
    non_saturating_loss,
    vanilla_loss,
)
from vqcodec.train.adversarial.style_discriminator import Blur, StyleGAN, nearest_power, spread_of_groups
from vqcodec.train.checkpoint import read_checkpoint, write_checkpoint
from vqcodec.train.recipe.schema import GanRecipe

from ..teachers import SmallTeacher

KINDS = ("patch", "style", "dino", "dino-batch")


def pictures(batch: int = 2, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def chances(batch: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, *CHANCES, generator=torch.Generator().manual_seed(seed))


def adversary(kind: str, **settings: Any) -> Adversary:
    torch.manual_seed(0)
    recipe = GanRecipe(kind, channels=4, layers=2, start=0, **{"lr": 1e-3, **settings})
    return Adversary(recipe, crop=32, teacher=SmallTeacher())


# Losses of logits


def test_cross_entropies_by_hand() -> None:
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 3.0])
    log_sigmoid = lambda v: -math.log(1 + math.exp(-v))  # noqa: E731
    expected = -(log_sigmoid(0) + log_sigmoid(2)) / 2 - (log_sigmoid(1) + log_sigmoid(-3)) / 2
    assert non_saturating_loss(real, fake).item() == pytest.approx(expected)
    assert vanilla_loss(real, fake).item() == pytest.approx(expected / 2)
    labels = nn.functional.binary_cross_entropy_with_logits
    assert vanilla_loss(real, fake).item() == pytest.approx(
        ((labels(real, torch.ones(2)) + labels(fake, torch.zeros(2))) / 2).item()
    )
    assert GENERATOR_LOSSES["non-saturating"](fake).item() == pytest.approx(-(log_sigmoid(-1) + log_sigmoid(3)) / 2)
    assert GENERATOR_LOSSES["hinge"](fake).item() == GENERATOR_LOSSES["vanilla"](fake).item() == -1.0


@pytest.mark.parametrize("name", DISCRIMINATOR_LOSSES)
def test_discriminator_and_generator_pull_apart(name: str) -> None:
    real, fake = torch.tensor([0.1], requires_grad=True), torch.tensor([-0.2], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(DISCRIMINATOR_LOSSES[name](real, fake), [real, fake])
    (to_fool,) = torch.autograd.grad(GENERATOR_LOSSES[name](fake), fake)
    assert to_real < 0 < to_fake
    assert to_fool < 0


def test_non_saturating_fades_where_the_discriminator_is_fooled() -> None:
    fake = torch.tensor([-5.0, 5.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(GENERATOR_LOSSES["non-saturating"](fake), fake)
    assert gradient[0].abs() > 100 * gradient[1].abs()


def test_consistency_by_hand() -> None:
    assert consistency_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])).item() == 4.5


# StyleGAN


@pytest.mark.parametrize(("px", "power", "blocks"), [(8, 8, 1), (32, 32, 3), (48, 32, 3), (100, 128, 5), (256, 256, 6)])
def test_style_blocks_end_at_four_pixels(px: int, power: int, blocks: int) -> None:
    assert nearest_power(px) == power
    net = StyleGAN(2, px)
    assert len(net.blocks) == blocks
    assert net.blocks(net.stem(torch.zeros(1, 3, power, power))).shape[2:] == (4, 4)
    assert net(pictures(2, px)).shape == (2, 1, 1, 1)
    assert net(torch.zeros(1, 3, px, px + 8)).shape == (1, 1, 1, 1)


def test_blur_keeps_flat_pictures_and_takes_out_stripes() -> None:
    assert torch.allclose(Blur()(torch.full((1, 2, 6, 6), 0.3)), torch.tensor(0.3))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert Blur()(stripes)[..., 1:-1].abs().max() < 1e-6


def test_spread_is_small_where_samples_are_alike() -> None:
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    assert spread_of_groups(x).max() < 1e-3
    other = x + torch.tensor([1.0, -1, 1, -1])[:, None, None, None]
    assert torch.allclose(spread_of_groups(other), torch.ones(4, 1, 4, 4), atol=1e-4)
    assert spread_of_groups(other[:3]).shape == (3, 1, 4, 4)


# DINO


def test_dino_looks_at_the_input_and_four_depths() -> None:
    assert depths_of(12) == (0, 3, 6, 9, 12)
    assert depths_of(3) == (0, 1, 2, 3)
    net = DinoDiscriminator(SmallTeacher())
    assert net(pictures(2, 16)).shape == net(pictures(2, 40)).shape == (2, 1, 4, 16)


def test_dino_trains_heads_alone_and_stores_no_backbone() -> None:
    net = DinoDiscriminator(SmallTeacher())
    assert all(name.startswith("heads.") for name in net.state_dict())
    x = pictures(2, 16).requires_grad_()
    net(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert all(value.grad is None for value in net.frozen[0].parameters())
    assert all(value.grad is not None for value in net.parameters())
    assert net.to(torch.float64).frozen[0].embed.weight.dtype == torch.float64


def test_heads_are_of_bounded_slope() -> None:
    torch.manual_seed(0)
    net = DinoDiscriminator(SmallTeacher())
    for _ in range(30):
        net(pictures(2, 16))
    weights = [m.weight.flatten(1) for m in net.modules() if isinstance(m, nn.Conv1d)]
    assert all(torch.linalg.matrix_norm(w, 2).item() == pytest.approx(1, abs=0.02) for w in weights)


@pytest.mark.parametrize(("batch", "groups"), [(3, [3]), (8, [8]), (9, [5, 4]), (16, [8, 8])])
def test_virtual_batches_have_at_most_eight_samples(batch: int, groups: list[int]) -> None:
    x = torch.randn(batch, 5, 7, generator=torch.Generator().manual_seed(0)) * 3 + 2
    first = 0
    for size in groups:
        part = VirtualBatchNorm(5)(x)[first : first + size]
        assert torch.allclose(part.mean((0, 2)), torch.zeros(5), atol=1e-5)
        assert torch.allclose(part.var((0, 2), correction=0), torch.ones(5), atol=1e-4)
        first += size
    torch.testing.assert_close(VirtualBatchNorm(5)(x[:3]), token_batch_norm(5)(x[:3]), atol=1e-4, rtol=1e-4)


# Augmentation


def numbers(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(batch, NUMBERS, generator=torch.Generator().manual_seed(seed))


def test_probability_decides() -> None:
    x = pictures()
    assert torch.equal(augment(x, numbers(), 0.0), x)
    assert not torch.allclose(augment(x, numbers(), 1.0), x)
    some = numbers(2)
    some[0, :3], some[1, :3] = 0.9, 0.1
    result = augment(x, some, 0.5)
    assert torch.equal(result[0], x[0])
    assert not torch.allclose(result[1], x[1])
    torch.testing.assert_close(result[1:], augment(x[1:], some[1:], 0.5))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_augmentation_has_the_gradient_of_its_values(seed: int) -> None:
    x = pictures(2, 12, seed).double().requires_grad_()
    chosen = numbers(2, seed).double()
    assert torch.autograd.gradcheck(lambda v: augment(v, chosen, 0.8), (x[:, :, :4, :4],), fast_mode=True)


def test_translation_by_hand() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    still = translate(x, torch.tensor([[0.5, 0.5]]), 1.0)
    assert torch.equal(still, x)
    moved = translate(x, torch.tensor([[0.99, 0.0]]), 1.0)  # one pixel down, one to the left
    assert torch.equal(moved[0, :, 1:, :-1], x[0, :, :-1, 1:])
    assert moved[0, :, 0].abs().max() == moved[0, :, :, -1].abs().max() == 0


def test_colour_by_hand() -> None:
    x = pictures(1)
    assert torch.allclose(colour(x, torch.full((1, 3), 0.5), 1.0), x, atol=1e-6)
    bright = colour(x, torch.tensor([[1.0, 0.5, 0.5]]), 1.0)
    assert torch.allclose(bright, x + 0.5, atol=1e-6)
    grey = colour(x, torch.tensor([[0.5, 0.0, 0.5]]), 1.0)
    assert torch.allclose(grey, x.mean(1, keepdim=True).expand_as(x), atol=1e-6)
    flat = colour(x, torch.tensor([[0.5, 0.5, 0.0]]), 1.0)
    assert flat.var().item() == pytest.approx(x.var().item() / 4, rel=1e-4)


def test_cutout_takes_a_fifth_of_each_side() -> None:
    hole = cutout(torch.ones(1, 3, 40, 40), torch.tensor([[0.5, 0.5]]), 1.0) == 0
    assert hole[0, 0].sum() == 8 * 8
    assert (cutout(torch.ones(1, 3, 40, 40), torch.tensor([[0.0, 0.5]]), 1.0) == 0)[0, 0].sum() == 4 * 8


def test_views_are_crops_or_the_whole() -> None:
    x = pictures(2, 32)
    chosen = torch.tensor([[0.1, 0.0, 0.999], [0.9, 0.5, 0.5]])
    seen = view(x, chosen, 16)
    assert torch.equal(seen[0], x[0, :, :16, 16:])
    assert torch.allclose(seen[1], nn.functional.avg_pool2d(x[1:], 2)[0], atol=1e-6)
    assert view(x, chosen, 40).shape == (2, 3, 40, 40)
    assert torch.equal(view(x, None, 32), x)


# The adversary with them


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", DISCRIMINATOR_LOSSES)
def test_both_sides_learn(kind: str, loss: str) -> None:
    subject = adversary(kind, loss=loss, generator=loss, lr=3e-3)
    x, y = pictures(4), pictures(4, seed=1) * 0.3
    first = subject.step(x, y)["gan/discriminator"]
    for _ in range(12):
        last = subject.step(x, y)
    assert last["gan/discriminator"] < first
    y.requires_grad_()
    (gradient,) = torch.autograd.grad(subject.generator_loss(y), y)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_generators_pass_leaves_everything_alone(kind: str) -> None:
    subject = adversary(kind, augment=1.0)
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    y = pictures().requires_grad_()
    subject.generator_loss(y, chances(2)).backward()
    assert y.grad is not None
    assert y.grad.abs().max() > 0
    assert all(value.grad is None for value in subject.module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in subject.module.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_a_function_of_their_numbers_and_resume(kind: str, tmp_path: Path) -> None:
    options = {"augment": 0.5, "consistency": 4.0, "lecam": 0.001}
    whole, part = adversary(kind, **options), adversary(kind, **options)
    batches = [(pictures(seed=s), pictures(seed=s + 9), chances(2, s)) for s in range(3)]
    expected = [whole.step(x, y, chances=c) for x, y, c in batches]
    got = [part.step(x, y, chances=c) for x, y, c in batches[:2]]
    write_checkpoint(tmp_path / "gan.pt", part.state_dict())
    resumed = adversary(kind, **options)
    resumed.load_state_dict(read_checkpoint(tmp_path / "gan.pt"))
    assert [*got, resumed.step(*batches[2][:2], chances=batches[2][2])] == expected
    assert expected[0]["gan/consistency"] > 0


def test_consistency_needs_its_weight() -> None:
    assert "gan/consistency" not in adversary("patch", augment=0.5).step(pictures(), pictures(), chances=chances(2))
    plain, steady = adversary("patch", augment=0.5), adversary("patch", augment=0.5, consistency=10.0)
    for subject in (plain, steady):
        subject.step(pictures(), pictures(seed=1), chances=chances(2))
    assert any(
        not torch.equal(a, b) for a, b in zip(plain.module.parameters(), steady.module.parameters(), strict=True)
    )


def test_numbers_are_asked_for_where_they_matter() -> None:
    assert [adversary(kind).draws for kind in KINDS] == [False, False, True, True]
    assert adversary("patch", augment=0.1).draws
    assert adversary("style", consistency=1.0).draws
