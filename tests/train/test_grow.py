"""Start of a run from a smaller model, and training of a part of a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vqcodec.config.quantizers import layered
from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model
from vqcodec.tokenizer import Tokenizer
from vqcodec.train.checkpoint import read_checkpoint
from vqcodec.train.export import export_run
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.run import CHECKPOINT, TokenizerRun
from vqcodec.train.train_tokenizer import train_tokenizer


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A recipe of seconds, with a linear path, on two smooth pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    for i in range(2):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        small.resize((150, 110), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return [
        f"data.train={json.dumps([str(folder)])}",
        f"data.val={json.dumps([str(folder)])}",
        "data.crop=64",
        "data.batch=4",
        "tokenizer.backbone.widths=[8,8]",
        "tokenizer.backbone.encoder_depths=[1,1]",
        "tokenizer.backbone.decoder_depths=[1,1]",
        "tokenizer.quantizer.codebook_size=8",
        "run.val_crop=64",
        "run.val_images=1",
        "run.precision=fp32",
        "run.tensorboard=false",
    ]


ONE_STEP = ["optimizer.steps=1", "optimizer.decay=0", "optimizer.lr=1e-9", "codebook.kmeans_at=0"]


@pytest.fixture(scope="module")
def small(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three groups and six channels."""
    base = tmp_path_factory.mktemp("small")
    own = ["tokenizer.quantizer.groups=3", "tokenizer.quantizer.dims=[1,2,3]", "optimizer.steps=6", "optimizer.decay=0"]
    train_tokenizer(load_recipe("tiny", [*changes, *own, "codebook.kmeans_at=2"]), base / "run", report=silent)
    export_run(base / "run", base / "model", report=silent)
    return base / "model"


def grown(small: Path, changes: list[str], folder: Path, dims: list[int]) -> Tokenizer:
    own = [f"tokenizer.quantizer.groups={len(dims)}", f"tokenizer.quantizer.dims={dims}", f"start_from={small}"]
    return train_tokenizer(load_recipe("tiny", [*changes, *own, *ONE_STEP]), folder, report=silent).model.eval()


def unquantized(tokenizer: Tokenizer, x: Tensor) -> Tensor:
    with torch.no_grad():
        z = tokenizer.encoder(x)
        made: Tensor = tokenizer.decoder(z, z.new_ones(len(z), len(tokenizer.sizes), *z.shape[2:]))
    return made


def picture() -> Tensor:
    rng = np.random.default_rng(4)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_other_groups_change_nothing_of_what_the_network_does(small: Path, changes: list[str], tmp_path: Path) -> None:
    old, new = load_model(str(small)).tokenizer, grown(small, changes, tmp_path / "run", [2, 2, 1, 1])
    x = picture()
    torch.testing.assert_close(unquantized(new, x), unquantized(old, x), rtol=1e-3, atol=1e-3)


def test_new_channels_take_up_what_the_old_ones_leave(small: Path, changes: list[str], tmp_path: Path) -> None:
    old, new = load_model(str(small)).tokenizer, grown(small, changes, tmp_path / "run", [1, 2, 3, 18])
    x = picture()
    before, after = ((unquantized(model, x) - x).square().mean().item() for model in (old, new))
    assert after < 0.7 * before


def test_groups_come_with_even_spread_and_falling_energy(small: Path, changes: list[str], tmp_path: Path) -> None:
    new = grown(small, changes, tmp_path / "run", [2, 4, 6])
    with torch.no_grad():
        z = new.encoder(picture())
    assert all(0.02 < part.var().item() < 50 for part in z.split([2, 4, 6], 1))


@pytest.mark.parametrize("dims", [[1, 2], [4]])
def test_a_smaller_latent_is_refused(small: Path, changes: list[str], tmp_path: Path, dims: list[int]) -> None:
    with pytest.raises(UsageError, match="at least as many"):
        grown(small, changes, tmp_path / "run", dims)


def test_a_frozen_encoder_stays_while_the_decoder_learns(changes: list[str], tmp_path: Path) -> None:
    first = [*changes, "optimizer.steps=6", "optimizer.decay=0", "codebook.kmeans_at=2", "codebook.rate=0.05"]
    train_tokenizer(load_recipe("tiny", first), tmp_path / "first", report=silent)
    more = [
        *first,
        f"start_from={tmp_path / 'first'}",
        "optimizer.estimator=codewords",
        'optimizer.frozen=["encoder","quantizer"]',
        "optimizer.steps=3",
        "codebook.kmeans_at=0",
    ]
    run = train_tokenizer(load_recipe("tiny", more), tmp_path / "second", report=silent)
    before = read_checkpoint(tmp_path / "first" / CHECKPOINT)
    started = before["model"] | before["ema"]
    moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, started[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)


def test_codewords_need_a_frozen_encoder(changes: list[str]) -> None:
    with pytest.raises(UsageError, match="freeze encoder and quantizer"):
        load_recipe("tiny", [*changes, "optimizer.estimator=codewords"])


@pytest.mark.parametrize(
    ("planes", "sizes"), [(1, [1]), (16, [1] * 16), (24, [2] * 8 + [1] * 8), (40, [3] * 8 + [2] * 8)]
)
def test_more_planes_than_layers_share_the_coarse_ones(planes: int, sizes: list[int]) -> None:
    layers = layered(planes)
    assert [len(layer) for layer in layers] == sizes
    assert [s for layer in layers for s in layer] == list(range(planes))


def refitted(changes: list[str], folder: Path, refit: str, *more: str) -> tuple[TokenizerRun, TokenizerRun]:
    """A run with a rate term, and one step of another run that starts from it with a refit."""
    own = [*changes, "tokenizer.quantizer.groups=2", "tokenizer.quantizer.dims=[2,4]", "codebook.rate=5.0"]
    own += ["codebook.kmeans_at=2", "codebook.rate_ramp=1", "optimizer.decay=0", "tokenizer.quantizer.codebook_size=32"]
    first = train_tokenizer(load_recipe("tiny", [*own, "optimizer.steps=30"]), folder / "first", report=silent)
    own += [f"start_from={folder / 'first'}", f'codebook.refit=["{refit}"]', "codebook.kmeans_at=0"]
    own += ['optimizer.frozen=["encoder","quantizer"]', "optimizer.estimator=codewords", *ONE_STEP[:3], *more]
    return first, train_tokenizer(load_recipe("tiny", own), folder / "second", report=silent)


def test_refitted_codebooks_are_closer_to_the_latent_and_nothing_else_changes(
    changes: list[str], tmp_path: Path
) -> None:
    first, second = refitted(changes, tmp_path, "groups")
    torch.testing.assert_close(second.model.quantizer.lambda_weights, first.model.quantizer.lambda_weights)
    assert second.model.quantizer.bit_costs.any()
    x = torch.cat([first.batches(i) for i in range(12)]).float() / 127.5 - 1
    errors = []
    for run in (first, second):
        with torch.no_grad(), run.averaged() as model:
            z = model.encoder(x)
            z_q, _ = model.quantizer.dequantize(model.quantizer.quantize(z, 0.0))
            errors.append((z - z_q).square().mean().item())
    assert errors[1] < errors[0]


def test_a_run_starts_with_a_balance(changes: list[str], tmp_path: Path) -> None:
    first, second = refitted(changes, tmp_path, "balance", "codebook.rate_caps=[3.0]")
    old, new = first.model.quantizer, second.model.quantizer
    assert not torch.equal(old.lambda_weights, new.lambda_weights)
    assert not torch.equal(old.codebooks, new.codebooks)
    assert new.lambda_caps[0] == 3.0
    assert (new.lambda_caps[1:] > 1e3).all()
    assert torch.isfinite(new.bit_costs).all()
    for key, value in second.model.encoder.state_dict().items():
        assert torch.equal(value, first.average.values[f"encoder.{key}"]), key


def test_refitting_needs_something_finished(changes: list[str]) -> None:
    with pytest.raises(UsageError, match=r"codebook\.refit: needs start_from"):
        load_recipe("tiny", [*changes, 'codebook.refit=["groups"]'])
