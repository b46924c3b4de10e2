"""The codebooks of residual, multi-scale and split quantizers in training: their start and their revival."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from vqcodec.quantizers.codebook import CodebookBank
from vqcodec.quantizers.single import VQ
from vqcodec.tokenizer import Tokenizer
from vqcodec.train.quantization.single_codebooks import SingleCodebooks
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.run import TokenizerRun

START = 4
CODES = {
    "multi-scale, gradient": [],
    "multi-scale, ema": ["codebook.learning=ema"],
    "residual": [
        "tokenizer.quantizer.part={kind = 'residual', stages = 3, base = {kind = 'vq', codebook_size = 32, dim = 8}}"
    ],
}


def small(changes: list[str], **more: int) -> list[str]:
    numbers = {"codebook.kmeans_at": START, "codebook.revive_every": 1, "optimizer.steps": 50, "data.batch": 4, **more}
    changes = [*changes, "codebook.revival=replace", "losses.gan/generator=0", "optimizer.decay=0"]
    return changes + [f"{key}={value}" for key, value in numbers.items()]


def pictures(number: int) -> Tensor:
    """Smooth pictures of different colours."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(4, 3, 4, 4, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear").byte()


@torch.no_grad()
def missed(model: Tokenizer, x: Tensor) -> float:
    """Squared error of the quantized latents over their energy."""
    model.eval()
    z, z_q = model.encoder(x), model.quantizer.dequantize(model.encode(x))[0]
    return float((z_q - z).square().mean() / z.square().mean())


@pytest.mark.parametrize("changes", CODES.values(), ids=CODES)
def test_the_start_finds_the_latents_where_they_are(changes: list[str]) -> None:
    """Latents of a new encoder differ in scale from random codewords."""
    recipe = load_recipe("tiny-xqgan-msvr", small(changes))
    torch.manual_seed(0)
    model = Tokenizer(recipe.tokenizer, recipe.codebook.learning)
    banks = SingleCodebooks(recipe, model, Accelerator(cpu=True))
    x = pictures(0) / 127.5 - 1
    before = missed(model, x)
    assert not banks.started(START - 1)
    banks.before_step(START, pictures)
    assert banks.started(START)
    assert missed(model, x) < 0.2
    assert before > 0.5
    assert min(len(plane.unique()) for plane in model.encode(x)[-2:]) >= 16
    assert all(code.asked is not None for code in banks.quantizers)


def test_dead_codewords_become_rows_of_the_step() -> None:
    recipe = load_recipe("tiny-xqgan-msvr", small([], **{"codebook.kmeans_at": 0}))
    run = TokenizerRun(recipe, Accelerator(cpu=True), pictures)
    codes = [module for module in run.model.modules() if isinstance(module, VQ)]
    assert len(codes) == 2
    for code in codes:
        code.bank.counts[:, 5:] = 0
    old = [code.bank.codebooks.detach().clone() for code in codes]
    run.train_step([pictures(0)])
    for code, before in zip(codes, old, strict=True):
        # The step of the optimizer moves them too, but hardly.
        moved = (code.bank.codebooks - before)[0].abs().amax(-1) > 0.1
        assert not moved[:5].any()
        assert moved[5:].sum() > 50
        # Those of the rest that had been chosen in the step live on.
        assert (code.bank.counts > 0).all()
        assert code.asked is None
        assert code.bank.fresh is None
    # The averaged weights have the new ones, not something between them and the old ones.
    name = next(name for name in run.average.values if name.endswith("bank.codebooks"))
    torch.testing.assert_close(run.average.values[name][0, 5:], dict(run.model.named_parameters())[name][0, 5:])


def test_none_is_revived_where_the_recipe_says_so() -> None:
    changes = [*small([], **{"codebook.kmeans_at": 0}), "codebook.revival=none"]
    run = TokenizerRun(load_recipe("tiny-xqgan-msvr", changes), Accelerator(cpu=True), pictures)
    code = next(module for module in run.model.modules() if isinstance(module, VQ))
    code.bank.counts[:, 5:] = 0
    before = code.bank.codebooks.detach().clone()
    run.train_step([pictures(0)])
    assert (code.bank.codebooks - before).abs().max() < 0.1


def test_kmeans_of_directions_joins_rows_of_any_length() -> None:
    generator = torch.Generator().manual_seed(0)
    axes = torch.eye(3).repeat(20, 1)
    lengths = 1 + 9 * torch.rand(60, 1, generator=generator)
    bank = CodebookBank(1, 3, 3)
    # A start with one row of each direction, so that there is one right answer.
    for seed in range(50):
        bank.kmeans((axes * lengths)[None], torch.Generator().manual_seed(seed), directions=True)
        if len(bank.codebooks[0].argmax(1).unique()) == 3:
            break
    order = bank.codebooks[0].argmax(1).argsort()
    means = torch.stack([lengths[axis::3].mean() for axis in range(3)])
    torch.testing.assert_close(bank.codebooks[0][order], torch.diag(means))
