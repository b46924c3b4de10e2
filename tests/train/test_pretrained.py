"""Backbones that start from DINOv2: the mapping of its tensors, and runs from this start."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.train.alignment import teachers
from vqcodec.train.checkpoint import read_checkpoint
from vqcodec.train.finetuning import merged, trained_share
from vqcodec.train.recipe.load import RECIPES, load_recipe
from vqcodec.train.recipe.schema import PretrainedRecipe, Recipe
from vqcodec.train.start import from_vit
from vqcodec.train.start.from_vit import resized_patches

from ..dinov2 import dinov2, make_photos, recipe, train

pytest.importorskip("accelerate", reason="the trainer's way to several processes")

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="the extra `alignment`")
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="the extra `alignment`")


def timm_network(state: dict[str, Tensor], **sizes: int) -> Any:
    """Network of timm with the weights `state`."""
    timm: Any = teachers._import("timm", "a test", "")
    with teachers._quiet():
        network = timm.models.VisionTransformer(
            embed_dim=64, depth=2, num_heads=1, init_values=1e-5, num_classes=0, **sizes
        )
    network.load_state_dict(state)
    return network.eval()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "dinov2.safetensors"
    save_file(dinov2(), path)
    return path


def started(subject: Recipe) -> Any:
    """The run before its first step."""
    from accelerate import Accelerator

    from vqcodec.train.run import TokenizerRun

    run = TokenizerRun(subject, Accelerator(cpu=True), lambda _: torch.zeros(0))
    from_vit.start_pretrained(run.model, subject.pretrained)
    run.restart()
    run.model.eval()
    return run


BOTH = 'pretrained.parts=["encoder","decoder"]'

# Mapping of the tensors


@needs_timm
@torch.no_grad()
def test_the_network_does_what_timms_does(photos: Path, weights: Path) -> None:
    network = timm_network(dinov2(), img_size=64, patch_size=8)
    assert set(network.state_dict()) == set(dinov2())
    run = started(recipe(photos, f"pretrained.model={weights}", BOTH))
    encoder, decoder = run.model.encoder, run.model.decoder
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    picture = encoder.trunk.placed(encoder.patches(x).flatten(2).transpose(1, 2))
    torch.testing.assert_close(picture, network._pos_embed(network.patch_embed(x)), atol=1e-5, rtol=1e-5)
    latents = encoder.latents + network.pos_embed[:, 1:] + encoder.places.parts[1]
    sequence = torch.cat([picture + encoder.places.parts[0], latents.expand(2, -1, -1)], 1)
    seen = network.norm(network.blocks(sequence))
    torch.testing.assert_close(encoder.trunk(sequence), seen, atol=1e-4, rtol=1e-4)
    z = encoder.to_latent(seen[:, -64:]).transpose(1, 2).reshape(2, -1, 8, 8)
    torch.testing.assert_close(encoder(x), z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoder.trunk(sequence), seen, atol=1e-4, rtol=1e-4)


@needs_timm
def test_other_patches_and_grids_are_timms(photos: Path, tmp_path: Path) -> None:
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    state = dinov2(patch=14, side=5)
    timm_network(state, img_size=70, patch_size=14)
    torch.save(state, tmp_path / "x.pth")
    encoder = started(recipe(photos, f"pretrained.model={tmp_path / 'x.pth'}")).model.encoder
    positions = resample_abs_pos_embed(state["pos_embed"], [8, 8])
    torch.testing.assert_close(encoder.trunk.positions, positions, atol=1e-5, rtol=1e-5)
    patches = resample_patch_embed(state["patch_embed.proj.weight"], [8, 8])
    torch.testing.assert_close(encoder.patches.weight, patches, atol=1e-4, rtol=1e-4)


def test_resized_filters_find_in_larger_patches_what_they_found() -> None:
    x, weight = torch.randn(5, 3, 14, 14), torch.randn(7, 3, 14, 14)
    larger = F.interpolate(x, (16, 16), mode="bicubic", antialias=True)
    found, expected = F.conv2d(larger, resized_patches(weight, 16)), F.conv2d(x, weight)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert resized_patches(weight, 14) is weight


def test_every_tensor_arrives_and_nothing_else_moves(photos: Path, weights: Path) -> None:
    one = started(recipe(photos, f"pretrained.model={weights}", 'pretrained.parts=["encoder"]'))
    both = started(recipe(photos, f"pretrained.model={weights}", BOTH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_vit, "start_pretrained", lambda *_: None)
        plain = started(recipe(photos)).model.state_dict()
    state = dinov2()

    def moved(run: Any, part: str) -> set[str]:
        found = run.model.state_dict()
        assert all(torch.equal(run.average.values[name], value) for name, value in run.model.named_parameters())
        return {
            name.removeprefix(f"{part}.")
            for name, value in found.items()
            if name.startswith(part) and not torch.equal(value, plain[name])
        }

    layers = {
        f"trunk.layers.{i}.{name}"
        for i in (0, 1)
        for name in (
            *(f"{layer}.{kind}" for layer in ("qkv", "project", "expand", "narrow") for kind in ("weight", "bias")),
            *(f"norm{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")),
            *("scale1", "scale2"),
        )
    }
    trunk = {*layers, "trunk.whole", "trunk.positions", "trunk.norm.weight", "trunk.norm.bias"}
    assert moved(one, "encoder") == moved(both, "encoder") == {*trunk, "patches.weight", "patches.bias"}
    assert moved(one, "decoder") == set()
    assert moved(both, "decoder") == trunk
    assert moved(both, "quantizer") == set()
    assert torch.equal(both.model.encoder.trunk.layers[1].scale2, state["blocks.1.ls2.gamma"])
    assert torch.equal(both.model.decoder.trunk.whole, state["cls_token"])


def test_a_sequence_keeps_its_own_places(photos: Path, tmp_path: Path) -> None:
    torch.save(dinov2(), tmp_path / "x.pth")
    run = started(recipe(photos, f"pretrained.model={tmp_path / 'x.pth'}", name="tiny-softvq"))
    assert torch.equal(run.model.encoder.trunk.positions, dinov2()["pos_embed"])
    assert run.model.encoder.places.positions.std() < 0.03


def test_what_hid_patches_in_training_is_passed_over(photos: Path, tmp_path: Path) -> None:
    torch.save(dinov2() | {"mask_token": torch.zeros(1, 64)}, tmp_path / "x.pth")
    started(recipe(photos, f"pretrained.model={tmp_path / 'x.pth'}", 'pretrained.parts=["decoder"]'))


@needs_timm
def test_one_that_is_named_is_fetched_as_it_was_trained(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, object]]] = []
    network = timm_network(dinov2(patch=14, side=5), img_size=70, patch_size=14)

    def create_model(name: str, **options: object) -> nn.Module:
        asked.append((name, options))
        return network

    monkeypatch.setattr(teachers, "_import", lambda *_: SimpleNamespace(create_model=create_model))
    monkeypatch.setattr(from_vit, "SIZES", {"dinov2-base": (2, 64)})
    run = started(recipe(photos, "pretrained.model=dinov2-base"))
    assert torch.equal(run.model.encoder.trunk.whole, dinov2()["cls_token"])
    options = {"pretrained": True, "num_classes": 0, "img_size": 518}
    assert asked == [("vit_base_patch14_dinov2.lvd142m", options)]


# Runs


@pytest.mark.parametrize(
    ("name", "start"),
    [
        *(
            (path.stem, PretrainedRecipe("dinov2-base", ("encoder", "decoder")))
            for path in RECIPES.glob("xqgan-*.toml")
            if "cnn" not in path.stem
        ),
        *((f"softvq-{size}", PretrainedRecipe("dinov2-base")) for size in ("b-64", "bl-64")),
        *((f"softvq-l-{tokens}", PretrainedRecipe("dinov2-large")) for tokens in (32, 64)),
    ],
)
def test_published_settings_start_from_dinov2(name: str, start: PretrainedRecipe) -> None:
    assert load_recipe(name).pretrained == start
    assert load_recipe(name, ["pretrained.model="]).pretrained.started == ()


def test_small_examples_need_nothing() -> None:
    assert all(not load_recipe(path.stem).pretrained.model for path in RECIPES.glob("tiny*.toml"))


def test_a_run_that_was_killed_does_not_start_again(photos: Path, weights: Path, tmp_path: Path) -> None:
    changes = (f"pretrained.model={weights}", BOTH)
    whole = train(tmp_path / "whole", recipe(photos, *changes))
    train(tmp_path / "part", recipe(photos, *changes, "run.stop_at=2"))
    weights.unlink()
    part = train(tmp_path / "part", recipe(photos, *changes), resume=True)
    assert part.step == 4
    for name, value in whole.model.state_dict().items():
        assert torch.equal(part.model.state_dict()[name], value), name


@needs_peft
def test_tuning_leaves_dinov2_and_trains_the_rest(photos: Path, weights: Path, tmp_path: Path) -> None:
    from vqcodec.train.run import CHECKPOINT

    subject = recipe(
        photos,
        f"pretrained.model={weights}",
        BOTH,
        'optimizer.frozen=["encoder"]',
        "optimizer.lr=1e-2",
        "tuning.decoder=lora",
    )
    before = started(subject)
    assert 0 < trained_share(before.model) < 0.5
    first = merged({name: value.clone() for name, value in before.model.state_dict().items()})
    train(tmp_path / "run", subject)
    last = merged(read_checkpoint(tmp_path / "run" / CHECKPOINT)["model"])
    assert set(last) == set(first)
    moved = {name for name, value in first.items() if not torch.equal(last[name], value)}
    encoder = {"encoder.latents", "encoder.places.parts", "encoder.to_latent.weight", "encoder.to_latent.bias"}
    assert {name for name in moved if name.startswith("encoder.")} == encoder
    assert {name for name in moved if name.startswith("decoder.")} == {
        *(f"decoder.trunk.layers.{i}.{layer}.weight" for i in (0, 1) for layer in ("expand", "narrow")),
        *("decoder.blank", "decoder.places.parts", "decoder.from_latent.weight", "decoder.from_latent.bias"),
        *("decoder.tail.weight", "decoder.tail.bias"),
    }
