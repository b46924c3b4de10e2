"""Sampling of pictures from integer priors and from the float model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image

from vqcodec.config.backbones import VqganConfig
from vqcodec.config.model import ModelConfig, TokenizerConfig
from vqcodec.config.quantizers import MultiScaleConfig, ProductVQConfig, QuantizerConfig, SplitConfig, VQConfig
from vqcodec.entropy.context_model import ContextModel
from vqcodec.errors import ModelError, UsageError
from vqcodec.models import loading
from vqcodec.sampling.draw import Drawer, draw_tokens
from vqcodec.sampling.factorized_ar import Far, FarConfig, read_far, write_far
from vqcodec.sampling.factorized_ar_draw import draw
from vqcodec.tokenizer import Tokenizer, training_only
from vqcodec.train.prior.factorized_ar import factorized_ar_bits, train_factorized_ar
from vqcodec.train.prior.recipe import PriorRecipe, prior_recipe
from vqcodec.train.prior.train_prior import run_prior

Invoke = Callable[..., tuple[int, str, str]]
CONFIG = FarConfig((16, 8, 16), (4, 5), width=32, heads=2, layers=2, head_layers=1)
RECIPE = PriorRecipe(
    "", (), steps=45, architecture="factorized-ar", batch=4, crop=4, units=32, lr=2e-2, checkpoint_every=50
)


def some_planes(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (2, 4, 5), generator=generator) for size in CONFIG.sizes], 1)


def test_a_sub_token_depends_on_those_before_it_alone() -> None:
    torch.manual_seed(0)
    model = Far(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
        planes = some_planes()
        before = model(planes).reshape(3, 2, 4, 5)
        for s, y, x in ((0, 0, 0), (1, 1, 3), (2, 2, 2), (0, 3, 4)):
            other = planes.clone()
            other[:, s, y, x] = (other[:, s, y, x] + 1) % CONFIG.sizes[s]
            changed = (model(other).reshape(3, 2, 4, 5) - before).abs().amax(1) > 1e-4
            for t in range(3):
                place = torch.arange(20).reshape(4, 5)
                may = (place > y * 5 + x) | ((place == y * 5 + x) & torch.tensor(t >= s))
                assert not (changed[t] & ~may).any(), (s, y, x, t)
            assert changed[s, y, x]
            if s < 2:
                assert changed[s + 1, y, x], "the head sees the sub-tokens before it"


def test_it_learns_and_draws_what_it_learned() -> None:
    """Training tiles in which plane 1 repeats plane 0, and plane 0 uses half of its codewords."""
    rng = np.random.default_rng(0)
    tiles = [np.repeat(rng.integers(0, 4, (1, 8, 8)), 2, 0).astype(np.uint16) for _ in range(8)]
    model = train_factorized_ar(tiles, (8, 8), RECIPE, lambda _: None)
    bits = factorized_ar_bits(model, tiles)
    assert bits[0] < 2.6
    assert bits[1] < 0.5
    first, second = draw(model, (4, 3), torch.Generator().manual_seed(0)).numpy()
    assert (first == second).mean() > 0.7
    assert (first < 4).mean() > 0.7


def test_small_tiles_are_refused() -> None:
    with pytest.raises(UsageError, match="no tile"):
        train_factorized_ar([np.zeros((2, 3, 9), np.uint16)], (8, 8), RECIPE, lambda _: None)


def test_the_drawer_follows_the_frequencies() -> None:
    rows = np.tile(np.array([[1, 0, 3, 4]], np.float32), (4000, 1))
    symbols = np.empty(4000, np.int32)
    Drawer(np.random.default_rng(0)).code_rows(rows, symbols)
    np.testing.assert_allclose(np.bincount(symbols, minlength=4) / 4000, [1 / 8, 0, 3 / 8, 1 / 2], atol=0.03)
    Drawer(np.random.default_rng(0), temperature=0.01).code_rows(rows, symbols)
    assert (symbols == 3).all()


def test_tokens_are_drawn_from_the_model_that_codes_files(tiny_model: str) -> None:
    one, same, other = (draw_tokens(tiny_model, 600, 40, seed) for seed in (1, 1, 2))
    for s, size in enumerate(loading.load_model(tiny_model).entropy.sizes):
        assert one.planes[s].shape == (3, 38)
        assert 0 <= one.planes[s].min() < one.planes[s].max() < size
        np.testing.assert_array_equal(one.planes[s], same.planes[s])
    assert (one.planes[0] != other.planes[0]).any()
    for size in ((0, 5), (5, 5000)):
        with pytest.raises(UsageError, match="pixels"):
            draw_tokens(tiny_model, *size)
    with pytest.raises(UsageError, match="temperature"):
        draw_tokens(tiny_model, 5, 5, temperature=0)


def test_the_command_draws_from_a_float_model_that_changes_no_file(
    tiny_model: str, tmp_path: Path, invoke: Invoke
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(tmp_path / "pictures" / "a.png")
    where = (str(tmp_path / "pictures"),)
    made = tmp_path / "made"
    said: list[str] = []
    run_prior(structs.replace(RECIPE, model=tiny_model, train=where, val=where, steps=3), made, report=said.append)
    assert "not for files" in said[-2]
    base, other = loading.load_model(tiny_model), loading.load_model(str(made))
    assert other.config.entropy_id == base.config.entropy_id
    assert not isinstance(other.entropy, ContextModel)
    for name, words in (("a", []), ("b", ["--integer"])):
        code, _, error = invoke("sample", "-m", made, "-o", tmp_path / f"{name}.png", "--size", "64x48", *words)
        assert code == 0, error
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size == (64, 48)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    code, _, error = invoke("sample", "-m", made, "-o", tmp_path / "c.png", "--size", "65x64")
    assert code == 2
    assert "at most 64x64" in error
    assert invoke("sample", "-m", made, "-o", tmp_path / "c.png", "--size", "big")[0] == 2
    assert invoke("sample", "-m", made, "-o", tmp_path / "a.png", "--integer")[0] == 7
    with pytest.raises(UsageError, match="architecture"):
        prior_recipe({"model": tiny_model, "train": where, "steps": 3, "architecture": "magic"})


def write_windowed(folder: Path, quantizer: QuantizerConfig, adapters: int) -> None:
    """Small FQGAN with random weights: windows of 32 px with 4 x 4 tokens."""
    backbone = VqganConfig((32,) * 4, (1,) * 4, (1,) * 4, 32, adapters, 1, 4, 32)
    tokenizer = TokenizerConfig(8, backbone, quantizer, 32, 8)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        made = Tokenizer(tokenizer)
        # Codewords at the scale of the latents, so that all are used.
        if isinstance(quantizer, ProductVQConfig):
            made.codebooks.normal_()
        state = {k: v.half().numpy() for k, v in made.state_dict().items() if not training_only(k)}
    layers = (tuple(range(len(quantizer.sizes))),)
    loading.write_model(folder, ModelConfig(folder.name, tokenizer, "", "", "", layers, ()), state)


def test_windows_are_drawn_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    write_windowed(tmp_path / "fqgan", ProductVQConfig(2, 16, 4, normalised=True, fill="zero"), 2)
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(tmp_path / "pictures" / "a.png")
    where = (str(tmp_path / "pictures"),)
    recipe = structs.replace(RECIPE, model=str(tmp_path / "fqgan"), train=where, val=where, steps=3)
    run_prior(recipe, tmp_path / "made", report=lambda _: None)
    made = str(tmp_path / "made")
    tokens = draw_tokens(made, 70, 40, seed=3)
    # Two rows of three windows of 32 px that overlap by 8 px.
    assert [plane.shape for plane in tokens.planes] == [(6, 4, 4)] * 2
    far, generator = read_far(tmp_path / "made", (16, 16)), torch.Generator().manual_seed(3)
    assert far is not None
    for window in range(6):
        drawn = draw(far, (4, 4), generator)
        for plane, part in zip(tokens.planes, drawn, strict=True):
            np.testing.assert_array_equal(plane[window], part)
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path))
    code, _, error = invoke("sample", "-m", made, "-o", tmp_path / "a.png", "--size", "70x40")
    assert code == 0, error
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (70, 40)


def test_a_float_model_that_does_not_fit_the_windows_is_refused(tmp_path: Path) -> None:
    write_windowed(tmp_path / "fqgan", ProductVQConfig(2, 16, 4), 2)
    write_far(tmp_path / "fqgan", Far(FarConfig((16, 16), (2, 2), width=8, heads=1, layers=1)))
    with pytest.raises(UsageError, match=r"draws at most 2x2 tokens, a window of 32 px has 4x4; train it with crop=4"):
        draw_tokens(str(tmp_path / "fqgan"), 70, 40)
    draw_tokens(str(tmp_path / "fqgan"), 70, 40, integer=True)
    write_windowed(tmp_path / "scales", SplitConfig(2, MultiScaleConfig((1, 4), VQConfig(16, 4))), 2)
    write_far(tmp_path / "scales", Far(FarConfig((16,) * 4, (4, 4), width=8, heads=1, layers=1)))
    with pytest.raises(UsageError, match=r"planes \[h, w\] of one shape"):
        draw_tokens(str(tmp_path / "scales"), 70, 40)


def test_float_models_of_other_alphabets_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    assert read_far(tmp_path, CONFIG.sizes) is None
    model = Far(CONFIG).eval()
    write_far(tmp_path, model)
    again = read_far(tmp_path, CONFIG.sizes)
    assert again is not None
    torch.testing.assert_close(again(some_planes()), model(some_planes()))
    with pytest.raises(ModelError, match="alphabets"):
        read_far(tmp_path, (16, 8))
    path = tmp_path / "sampler.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "width": 64}))
    with pytest.raises(ModelError, match="not a sampler"):
        read_far(tmp_path, CONFIG.sizes)
    path.write_text("{")
    with pytest.raises(ModelError, match="not a sampler"):
        read_far(tmp_path, CONFIG.sizes)
