"""RobustTok's perturbation: the tokens that change, their replacements, and that only the decoder receives them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from vqcodec.config.model import ConvConfig, TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.errors import UsageError
from vqcodec.tokenizer import Tokenizer
from vqcodec.train.quantization.perturbation import LatentPerturbation, annealed, perturbed
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import PerturbationRecipe

BACKBONE = ConvConfig(widths=(8,), encoder_depths=(1,), decoder_depths=(1,))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_tokens_become_one_of_their_nearest() -> None:
    rows, book = torch.zeros(400, 1), torch.arange(10.0)[:, None]
    index = torch.zeros(400, dtype=torch.int64)
    found = perturbed(index, rows, book, uniform(400, 2), tokens=1.0, nearest=4)
    counts = torch.bincount(found, minlength=10)
    assert counts[4:].sum() == 0
    assert bool(((counts[:4] > 60) & (counts[:4] < 140)).all())
    assert torch.equal(perturbed(index, rows, book, uniform(400, 2), tokens=0.0, nearest=4), index)
    some = perturbed(index, rows, book, uniform(400, 2), tokens=0.3, nearest=10)
    assert (some != 0).float().mean().item() == pytest.approx(0.3 * 0.9, abs=0.06)
    assert torch.equal(perturbed(index, rows, book, uniform(400, 2), tokens=1.0, nearest=1), index)


def test_annealing_by_hand() -> None:
    settings = PerturbationRecipe(samples=0.1, tokens=1.0, nearest=100, anneal=(40, 120))
    assert annealed(settings, 0) == annealed(settings, 40) == (1.0, 100)
    assert annealed(settings, 80) == (0.75, 75)
    assert annealed(settings, 120) == annealed(settings, 999) == (0.5, 50)
    assert annealed(PerturbationRecipe(nearest=7), 5) == (1.0, 7)


def test_first_samples_change_and_gradients_stay() -> None:
    torch.manual_seed(0)
    model = Tokenizer(TokenizerConfig(8, BACKBONE, ProductVQConfig(2, 16, 3)), "gradient").train()
    processes = SimpleNamespace(num_processes=1, process_index=0, device=torch.device("cpu"))
    model.quantizer.bank.update = lambda *_: None  # type: ignore[assignment]
    settings = PerturbationRecipe(samples=0.5, nearest=8)
    perturbation = LatentPerturbation(settings, model, processes, (4, 4))  # type: ignore[arg-type]
    x, kept, noise = uniform(4, 3, 32, 32) * 2 - 1, torch.ones(4, 2, 4, 4), torch.zeros(4, 6, 4, 4)
    plain = model(x, kept, noise)
    perturbation.draw(0, 4, torch.Generator().manual_seed(1))
    moved = model(x, kept, noise)
    # The losses and the indices are those of the tokens as they were.
    assert torch.equal(plain.commitment, moved.commitment)
    assert all(torch.equal(a, b) for a, b in zip(plain.indices, moved.indices, strict=True))
    different = (plain.x != moved.x).flatten(1).any(1)
    assert different.tolist() == [True, True, False, False]
    moved.x[:2].square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in model.encoder.parameters())


def test_two_processes_perturb_what_one_would() -> None:
    torch.manual_seed(0)
    model = Tokenizer(TokenizerConfig(8, BACKBONE, ProductVQConfig(2, 16, 3))).train()
    x, kept, noise = uniform(4, 3, 32, 32) * 2 - 1, torch.ones(4, 2, 4, 4), torch.zeros(4, 6, 4, 4)
    model.quantizer.bank.update = lambda *_: None  # type: ignore[assignment]
    seen = []
    for count in (1, 2):
        parts = []
        for rank in range(count):
            processes = SimpleNamespace(num_processes=count, process_index=rank, device=torch.device("cpu"))
            settings = PerturbationRecipe(samples=0.75, nearest=8)
            perturbation = LatentPerturbation(settings, model, processes, (4, 4))  # type: ignore[arg-type]
            own = slice(rank * 4 // count, (rank + 1) * 4 // count)
            perturbation.draw(0, 4 // count, torch.Generator().manual_seed(1))
            parts.append(model(x[own], kept[own], noise[own]).x)
        seen.append(torch.cat(parts))
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["samples=1.5"], "samples"),
        (["samples=0.1", "nearest=65"], r"nearest: 1\.\.64"),
        (["tokens=-0.1"], "tokens"),
        (["anneal=[5]"], "anneal"),
        (["anneal=[9, 5]"], "anneal"),
        (["floor=2.0"], "floor"),
    ],
)
def test_settings_out_of_range_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=rf"recipe\.perturbation\.{message}"):
        load_recipe("tiny", [f"perturbation.{change}" for change in changes])
