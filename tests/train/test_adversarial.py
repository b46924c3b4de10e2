"""Adversarial training: the discriminator's shape and reach, its losses by hand, and an exact resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from vqcodec.errors import InputError, UsageError
from vqcodec.train.adversarial.adversary import Adversary
from vqcodec.train.adversarial.discriminators import DISCRIMINATORS, PatchGAN
from vqcodec.train.adversarial.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES, hinge_loss, lecam_loss
from vqcodec.train.checkpoint import read_checkpoint, write_checkpoint
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import GanRecipe

SMALL = GanRecipe(discriminator="patch", channels=4, layers=2, start=3, lr=1e-3)


def adversary(recipe: GanRecipe = SMALL, **options: Any) -> Adversary:
    torch.manual_seed(0)
    return Adversary(recipe, **options)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Pictures and reconstructions [2, 3, 32, 32], a pure function of `step`."""
    generator = torch.Generator().manual_seed(step)
    x = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    return x, x + 0.3 * torch.randn(2, 3, 32, 32, generator=generator)


# Networks


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize(("layers", "logits"), [(2, 30), (3, 14), (4, 6)])
def test_one_logit_for_each_patch(name: str, layers: int, logits: int) -> None:
    net = DISCRIMINATORS[name](8, layers)
    assert net(torch.rand(2, 3, 128, 128)).shape == (2, 1, logits, logits)
    least = PatchGAN.least_px(layers)
    assert net(torch.rand(1, 3, least + 8, least)).shape[3] == 1
    with pytest.raises((RuntimeError, ValueError)):
        net(torch.rand(1, 3, least - 1, least - 1))


@pytest.mark.parametrize(("layers", "reach"), [(2, 34), (3, 70), (4, 142)])
def test_a_logit_sees_its_patch_and_no_more(layers: int, reach: int) -> None:
    net = PatchGAN(2, layers)
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    logits = net(x)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    seen = gradient.abs().sum((0, 1))
    for axis in (0, 1):
        places = seen.sum(axis).nonzero()[:, 0]
        assert places[-1] - places[0] + 1 == reach


def test_widths_of_the_reference_network() -> None:
    convs = [m for m in DISCRIMINATORS["patch"](64, 3).modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.stride[0], c.bias is not None) for c in convs] == [
        (64, 2, True),
        (128, 2, False),
        (256, 2, False),
        (512, 1, False),
        (1, 1, True),
    ]
    assert convs[3].weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_samples_of_the_plain_network_do_not_mix() -> None:
    x, _ = batch(0)
    plain, normalized = (DISCRIMINATORS[name](4, 2) for name in ("patch-plain", "patch"))
    torch.testing.assert_close(torch.cat([plain(x[:1]), plain(x[1:])]), plain(x))
    assert not torch.allclose(torch.cat([normalized(x[:1]), normalized(x[1:])]), normalized(x))


# Losses


def test_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0, 1.0]), torch.tensor([-2.0, 0.0, 1.0, -0.5])
    # Real misses the margin by 0, 0.5, 2, 0; fake by 0, 1, 2, 0.5.
    assert hinge_loss(real, fake).item() == pytest.approx(0.5 * (2.5 / 4 + 3.5 / 4))
    real.requires_grad_()
    fake.requires_grad_()
    hinge_loss(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [0, -0.125, -0.125, 0]
    assert fake.grad.tolist() == [0, 0.125, 0.125, 0.125]


def test_lecam_by_hand() -> None:
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([-1.0, 3.0])
    # To the fake average -0.5: 1.5 and nothing; to the real average 2: 3 and nothing.
    assert lecam_loss(real, fake, torch.tensor([2.0, -0.5])).item() == pytest.approx(1.5**2 / 2 + 3**2 / 2)


def test_lecam_averages_start_at_the_first_batch_and_then_move_slowly() -> None:
    subject = adversary(GanRecipe("patch", 4, 2, lecam=0.5))
    first = subject.step(*batch(0))
    assert subject.averages.tolist() == pytest.approx([first["gan/real"].item(), first["gan/fake"].item()])
    second = subject.step(*batch(1))
    assert subject.averages[0].item() == pytest.approx(
        0.999 * first["gan/real"].item() + 0.001 * second["gan/real"].item()
    )
    assert set(second) == {"gan/discriminator", "gan/real", "gan/fake", "gan/lecam"}
    assert "gan/lecam" not in adversary().step(*batch(0))


def test_lecam_changes_the_step() -> None:
    plain, regular = adversary(), adversary(GanRecipe("patch", 4, 2, lr=1e-3, lecam=100.0))
    plain.step(*batch(0))
    regular.step(*batch(0))
    assert any(
        not torch.equal(a, b) for a, b in zip(plain.module.parameters(), regular.module.parameters(), strict=True)
    )


def test_adaptive_weight_by_hand() -> None:
    # y = w * x for a scalar picture: the gradients of a * y and b * y at w are a * x and b * x.
    weight, x = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([0.6, 0.8])
    y = weight * x
    ratio = adversary().adaptive_weight(6 * y.sum(), -2 * y.sum(), weight)
    assert ratio.item() == pytest.approx(6 / (2 + 1e-4))
    assert not ratio.requires_grad
    assert weight.grad is None
    y.sum().backward()  # the graph is still there
    assert adversary().adaptive_weight((weight * 1e6).sum(), (weight * 1e-9).sum(), weight).item() == 1e4


def test_generator_loss_is_the_mean_over_equal_halves() -> None:
    subject = adversary(GanRecipe("patch-plain", 4, 2))
    _, y = batch(0)
    halves = (subject.generator_loss(y[:1]) + subject.generator_loss(y[1:])) / 2
    torch.testing.assert_close(subject.generator_loss(y), halves)
    torch.testing.assert_close(subject.generator_loss(y), -subject.module(y).mean())


# The two sides


def test_generator_pass_leaves_the_discriminator_alone() -> None:
    subject = adversary()
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    _, y = batch(0)
    y.requires_grad_()
    subject.generator_loss(y).backward()
    assert y.grad is not None
    assert bool((y.grad != 0).any())
    assert all(p.grad is None and p.requires_grad for p in subject.module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in subject.module.state_dict().items())


def test_discriminator_step_leaves_the_tokenizer_alone() -> None:
    weight = torch.ones(3, 1, 1, requires_grad=True)
    x, noisy = batch(0)
    y = noisy * weight
    loss = y.sum()
    losses = adversary().step(x, y)
    assert weight.grad is None
    assert not any(value.requires_grad for value in losses.values())
    loss.backward()
    torch.testing.assert_close(weight.grad, noisy.sum((0, 2, 3))[:, None, None])


def test_both_sides_learn_their_aim() -> None:
    subject = adversary(GanRecipe("patch-plain", 4, 2, lr=1e-2))
    x, y = batch(0)
    first = subject.step(x, y)
    for _ in range(30):
        last = subject.step(x, y)
    assert last["gan/discriminator"] < 0.5 * first["gan/discriminator"]
    assert last["gan/real"] > last["gan/fake"]
    y.requires_grad_()
    (gradient,) = torch.autograd.grad(subject.generator_loss(y), y)
    assert subject.module(y - 0.1 * gradient / gradient.norm()).mean() > subject.module(y).mean()


def test_rate_of_learning_follows_the_schedule() -> None:
    subject = adversary()
    before = [p.clone() for p in subject.module.parameters()]
    subject.step(*batch(0), lr_scale=0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, subject.module.parameters(), strict=True))
    subject.step(*batch(0), lr_scale=0.5)
    # The first steps of Adam are about as long as its rate.
    moves = [(a - b).abs().max().item() for a, b in zip(before, subject.module.parameters(), strict=True)]
    assert 0 < max(moves) < 1.5 * 0.5 * SMALL.lr


def test_it_takes_part_from_its_first_step_on() -> None:
    assert [adversary().active(step) for step in (0, 2, 3, 4)] == [False, False, True, True]


# State


def test_resumed_steps_equal_unbroken_ones(tmp_path: Path) -> None:
    recipe = GanRecipe("patch", 4, 2, lr=1e-2, weight_decay=0.01, lecam=0.5)
    whole, part = adversary(recipe), adversary(recipe)
    expected = [whole.step(*batch(step), lr_scale=1 / (step + 1)) for step in range(6)]
    got = [part.step(*batch(step), lr_scale=1 / (step + 1)) for step in range(3)]
    write_checkpoint(tmp_path / "state.pt", {"gan": part.state_dict()})
    torch.manual_seed(99)
    resumed = Adversary(recipe)
    resumed.load_state_dict(read_checkpoint(tmp_path / "state.pt")["gan"])
    got += [resumed.step(*batch(step), lr_scale=1 / (step + 1)) for step in range(3, 6)]
    assert got == expected
    assert resumed.steps == 6
    assert torch.equal(resumed.averages, whole.averages)
    assert all(torch.equal(a, b) for a, b in zip(resumed.module.parameters(), whole.module.parameters(), strict=True))


def test_state_of_another_discriminator_is_refused() -> None:
    state = adversary().state_dict()
    for other in (GanRecipe("patch", 8, 2), GanRecipe("patch-plain", 4, 2), GanRecipe("patch", 4, 3)):
        with pytest.raises(InputError, match="another discriminator"):
            adversary(other).load_state_dict(state)


class TwoProcesses:
    """Replacement of accelerate with a second process whose values are all 1."""

    sync_gradients = True

    def __init__(self) -> None:
        self.calls: list[str] = []

    def prepare(self, *parts: Any) -> Any:
        self.calls.append("prepare")
        return parts

    def backward(self, loss: Tensor) -> None:
        self.calls.append("backward")
        loss.backward()

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        self.calls.append(f"reduce {reduction}")
        return (tensor + 1) / 2


def test_processes_share_averages_and_adaptive_weight() -> None:
    processes = TwoProcesses()
    subject = adversary(GanRecipe("patch", 4, 2, lecam=0.1), accelerator=processes)
    losses = subject.step(*batch(0))
    assert processes.calls == ["prepare", "reduce mean", "backward"]
    assert subject.averages[0].item() == pytest.approx((losses["gan/real"].item() + 1) / 2)
    weight = torch.ones(1, requires_grad=True)
    ratio = subject.adaptive_weight(3 * weight.sum(), weight.sum(), weight)
    # The other process has gradients of 1, so their means are 2 and 1.
    assert ratio.item() == pytest.approx(2 / (1 + 1e-4))


@pytest.fixture
def accelerator_of() -> Iterator[Callable[..., Any]]:
    """accelerate's Accelerator with its global settings restored afterwards."""
    accelerate = pytest.importorskip("accelerate", reason="the trainer's way to several processes")
    states = (accelerate.state.AcceleratorState, accelerate.state.PartialState, accelerate.state.GradientState)
    for state in states:
        state._reset_state()
    yield accelerate.Accelerator
    for state in states:
        state._reset_state()


def test_under_accelerate_it_steps_as_without(accelerator_of: Callable[..., Any]) -> None:
    recipe = GanRecipe("patch", 4, 2, lr=1e-2, lecam=0.1)
    alone, prepared = adversary(recipe), adversary(recipe, accelerator=accelerator_of(cpu=True))
    for step in range(3):
        assert alone.step(*batch(step)) == prepared.step(*batch(step))
        assert torch.equal(alone.generator_loss(batch(step)[1]), prepared.generator_loss(batch(step)[1]))


def test_accumulated_batches_make_one_step(accelerator_of: Callable[..., Any]) -> None:
    recipe = GanRecipe("patch-plain", 4, 2, lr=1e-2, clip=1e-3)
    accelerator = accelerator_of(cpu=True, gradient_accumulation_steps=2)
    whole, parts = adversary(recipe), adversary(recipe, accelerator=accelerator)
    for step in range(2):
        x, y = batch(step)
        whole.step(x, y)
        for part in (slice(0, 1), slice(1, 2)):
            with accelerator.accumulate(parts.network):
                parts.step(x[part], y[part])
    for a, b in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# Recipe


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (
            ["gan.discriminator=pitch"],
            "discriminator: 'pitch' is not one of dino, dino-batch, patch, patch-plain, style",
        ),
        (["gan.channels=0"], "channels"),
        (["gan.layers=0"], "layers"),
        (["gan.layers=5", "data.crop=64"], "need crops of 96 px"),
        (["gan.start=-1"], "start"),
        (["gan.lr=0.0"], "lr"),
        (["gan.lr=nan"], "lr"),
        (["gan.betas=[0.9]"], "betas"),
        (["gan.betas=[0.9, 1.0]"], "betas"),
        (["gan.clip=0.0"], "clip"),
        (["gan.lecam=-0.1"], "lecam"),
        (["gan.loss=cross"], "loss: 'cross' is not one of hinge, non-saturating, vanilla"),
        (["gan.generator=none"], "generator: 'none'"),
        (["gan.augment=1.5"], "augment"),
        (["gan.consistency=-1.0"], "consistency"),
        (["gan.discriminator=dino", "gan.backbone=dinno"], "backbone: 'dinno' is not one of dino-small"),
    ],
)
def test_recipes_that_cannot_train_are_refused(changes: list[str], key: str) -> None:
    adversarial = ["losses.gan/generator=0.5"]
    load_recipe("tiny", adversarial)
    with pytest.raises(UsageError, match=f"recipe.gan.*{key}"):
        load_recipe("tiny", [*adversarial, *changes])


def test_names_of_a_recipe_are_those_of_the_tables() -> None:
    hints = get_type_hints(GanRecipe)
    assert set(get_args(hints["loss"])) == set(DISCRIMINATOR_LOSSES)
    assert set(get_args(hints["generator"])) == set(GENERATOR_LOSSES)
    assert set(get_args(hints["discriminator"])) == {*DISCRIMINATORS, "style", "dino", "dino-batch"}
