"""vq/entropy and vq/disentanglement: by hand, and against values of the released code."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vqcodec.quantizers.base import assignment_entropy
from vqcodec.train.losses.disentanglement import disentanglement
from vqcodec.train.losses.entropy import TEMPERATURE, distance_logits

VECTORS = Path(__file__).parents[3] / "shared" / "reference" / "vectors"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def vectors(name: str) -> dict[str, np.ndarray]:
    path = VECTORS / f"{name}.npz"
    if not path.is_file():
        pytest.skip("the reference vectors are not installed next to the checkout")
    with np.load(path) as file:
        return dict(file)


def test_certain_and_even_assignments() -> None:
    even = torch.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    assert assignment_entropy(even / TEMPERATURE).item() == pytest.approx(-math.log(4), abs=1e-5)
    assert assignment_entropy(torch.eye(4)[[2, 2]] / TEMPERATURE).item() == pytest.approx(0, abs=1e-5)
    assert assignment_entropy(torch.zeros(3, 4)).item() == pytest.approx(0, abs=1e-5)


def test_assignment_entropy_by_its_definition() -> None:
    logits = random(5, 7)
    p = np.exp(logits.numpy() / 0.5)
    p /= p.sum(1, keepdims=True)
    entropy = lambda q: -(q * np.log(q)).sum(-1)  # noqa: E731
    expected = entropy(p).mean() - entropy(p.mean(0))
    assert assignment_entropy(logits / 0.5).item() == pytest.approx(expected, abs=1e-5)


def test_logits_by_hand() -> None:
    rows, book = random(3, 4), random(5, 4, seed=1)
    torch.testing.assert_close(distance_logits(rows, book), -torch.cdist(rows, book).square(), atol=1e-4, rtol=1e-4)


def products(rows: Tensor, book: Tensor) -> Tensor:
    return rows @ book.T


def cosines(rows: Tensor, book: Tensor) -> Tensor:
    return products(normalize(rows, dim=-1), normalize(book, dim=-1))


@pytest.mark.parametrize(("name", "logits"), [("softvq_k1_l2", cosines), ("softvq_k4_raw", products)])
def test_softvqs_entropy(name: str, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
    data = vectors(name)
    books = torch.tensor(data["sd/embedding"])  # [segments, K, d]
    segments = torch.tensor(data["z"]).chunk(len(books), 1)
    rows = torch.cat([logits(part.reshape(-1, 8), book) for part, book in zip(segments, books, strict=True)])
    assert 0.01 * assignment_entropy(rows / TEMPERATURE).item() == pytest.approx(
        float(data["train/entropy_loss"]), abs=1e-6
    )


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
