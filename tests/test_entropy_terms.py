"""vq/entropy and vq/disentanglement: by hand, by listing all codewords, and against values of the released code."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vqcodec.train.disentanglement import disentanglement
from vqcodec.train.entropy_terms import (
    assignment_entropy,
    bits_entropy,
    cosine_logits,
    distance_logits,
    mean_assignment,
)

VECTORS = Path(__file__).parents[2] / "shared" / "reference" / "vectors"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def vectors(name: str) -> dict[str, np.ndarray]:
    path = VECTORS / f"{name}.npz"
    if not path.is_file():
        pytest.skip("the reference vectors are not beside the checkout")
    with np.load(path) as file:
        return dict(file)


def test_certain_and_even_assignments() -> None:
    even = torch.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    assert assignment_entropy(even).item() == pytest.approx(-math.log(4), abs=1e-5)
    assert assignment_entropy(torch.eye(4)[[2, 2]]).item() == pytest.approx(0, abs=1e-5)
    assert assignment_entropy(torch.zeros(3, 4)).item() == pytest.approx(0, abs=1e-5)


def test_assignment_entropy_by_its_definition() -> None:
    logits = random(5, 7)
    p = np.exp(logits.numpy() / 0.5)
    p /= p.sum(1, keepdims=True)
    entropy = lambda q: -(q * np.log(q)).sum(-1)  # noqa: E731
    expected = entropy(p).mean() - entropy(p.mean(0))
    assert assignment_entropy(logits, 0.5).item() == pytest.approx(expected, abs=1e-5)


def test_logits_by_hand() -> None:
    rows, book = random(3, 4), random(5, 4, seed=1)
    torch.testing.assert_close(distance_logits(rows, book), -torch.cdist(rows, book).square(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        cosine_logits(rows, book), torch.cosine_similarity(rows[:, None], book[None], dim=-1), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_bits_count_like_a_listed_codebook(bits: int) -> None:
    z = random(6, bits)
    words = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=bits)))
    # softmax of -|z - w|^2 over the words: what a bit's sigmoid of 4 z is.
    assert bits_entropy(z).item() == pytest.approx(
        assignment_entropy(distance_logits(z, words), temperature=1.0).item(), abs=1e-5
    )


def test_words_count_from_their_lowest_bit() -> None:
    p = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    expected = torch.zeros(8)
    expected[0b101] = expected[0b110] = 0.5
    assert torch.equal(mean_assignment(p), expected)


def test_many_bits_are_bounded_from_above() -> None:
    torch.manual_seed(0)
    z = torch.randn(50, 24)
    p = torch.sigmoid(4 * z)
    each = -(p * p.log() + (1 - p) * (1 - p).log()).sum(1).mean()
    m = p.mean(0)
    assert bits_entropy(z).item() == pytest.approx(
        (each + (m * m.log() + (1 - m) * (1 - m).log()).sum()).item(), abs=1e-3
    )


def test_descent_makes_choices_certain_and_even() -> None:
    z = (0.05 * random(64, 3) + 0.2).requires_grad_()
    before = bits_entropy(z).item()
    for _ in range(60):
        (gradient,) = torch.autograd.grad(bits_entropy(z), z)
        z = (z - 5 * gradient).detach().requires_grad_()
    assert bits_entropy(z) < before - 0.5
    share = (z > 0).float().mean(0)
    assert bool(((share > 0.2) & (share < 0.8)).all())


def test_extreme_latents_have_finite_gradients() -> None:
    for z in (torch.full((2, 3), 1e4), torch.zeros(2, 3)):
        z.requires_grad_()
        bits_entropy(z).backward()
        assert z.grad is not None
        assert bool(z.grad.isfinite().all())


@pytest.mark.parametrize(("name", "logits"), [("softvq_k1_l2", cosine_logits), ("softvq_k4_raw", lambda a, b: a @ b.T)])
def test_softvqs_entropy(name: str, logits: object) -> None:
    data = vectors(name)
    books = torch.tensor(data["sd/embedding"])  # [segments, K, d]
    segments = torch.tensor(data["z"]).chunk(len(books), 1)
    rows = torch.cat([logits(part.reshape(-1, 8), book) for part, book in zip(segments, books, strict=True)])  # type: ignore[operator]
    assert 0.01 * assignment_entropy(rows).item() == pytest.approx(float(data["train/entropy_loss"]), abs=1e-6)


# Disentanglement


def test_disentanglement_by_hand() -> None:
    one, other = torch.tensor([[[1.0, 0], [2, 0]]]), torch.tensor([[[3.0, 0], [0, 5]]])
    assert disentanglement([one, other]).item() == pytest.approx(0.5)
    third = torch.tensor([[[0.0, 1], [1, 1]]])
    # Pairs: (1, 0), (0, 1/2), (0, 1/2).
    assert disentanglement([one, other, third]).item() == pytest.approx((0.5 + 0.25 + 0.25) / 3)
    torch.testing.assert_close(disentanglement([one, other, third]), disentanglement([third, 7 * one, -other]))


def test_disentanglement_turns_branches_apart() -> None:
    one, other = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1)
    (gradient,) = torch.autograd.grad(disentanglement([one, other]), one)
    assert disentanglement([one - 0.1 * gradient, other]) < disentanglement([one, other])


def test_fqgans_disentanglement() -> None:
    data = vectors("fqgan_dual_vq16_filled")
    z_q = torch.tensor(data["out/quant"]).flatten(2).transpose(1, 2)
    loss = disentanglement(list(z_q.split(8, 2)))
    assert 0.1 * loss.item() == pytest.approx(float(data["out/disentangle_loss"]), abs=1e-6)
