"""Teachers and encoder starts beyond DINOv2 and CLIP's class token, each with a small network of the same layout."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vqcodec.errors import InputError, UsageError
from vqcodec.train.alignment import teachers
from vqcodec.train.alignment.teachers import load_teacher
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import Recipe
from vqcodec.train.start import from_vit

from ..dinov2 import dinov2, make_photos, recipe, train

pytest.importorskip("accelerate", reason="the trainer's way to several processes")
pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="the extra `alignment`")

ENCODER = 'pretrained.parts=["encoder"]'
SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 1}
NAMES = {"clip": "vit_base_patch16_clip_quickgelu_224", "eva02": "eva02_base_patch14_224"}
"""Names in timm of the networks that starts were trained as."""


def timm_network(name: str, **options: Any) -> Any:
    """A small network of timm with random weights that all matter."""
    timm: Any = teachers._import("timm", "a test", "")
    with teachers._quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False, num_classes=0, **options).eval()
        with torch.no_grad():
            for value in network.parameters():
                value.copy_(0.2 * torch.randn(value.shape))
    return network


def started(subject: Recipe) -> Any:
    """The encoder before the first step."""
    from accelerate import Accelerator

    from vqcodec.train.run import TokenizerRun

    run = TokenizerRun(subject, Accelerator(cpu=True), lambda _: torch.zeros(0))
    from_vit.start_pretrained(run.model, subject.pretrained)
    run.model.eval()
    return run.model.encoder


def pictures(px: int) -> Tensor:
    return torch.rand(2, 3, px, px, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


# Encoders


@pytest.mark.parametrize("layers", ["clip", "eva02"])
@torch.no_grad()
def test_an_encoder_does_what_its_start_does(layers: str, photos: Path, tmp_path: Path) -> None:
    network = timm_network(NAMES[layers], img_size=64, patch_size=8, **SMALL)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "x.safetensors")
    own = (f"pretrained.model={tmp_path / 'x.safetensors'}", f"tokenizer.backbone.encoder_layers={layers}", ENCODER)
    encoder = started(recipe(photos, *own))
    x = pictures(64)
    placed = encoder.trunk.placed(encoder.patches(x).flatten(2).transpose(1, 2))
    expected = network.forward_features(x)
    if layers == "eva02":
        expected = network.fc_norm(expected)
    torch.testing.assert_close(encoder.trunk(placed), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", ["clip", "eva02"])
def test_a_run_from_one_trains_and_exports(layers: str, photos: Path, tmp_path: Path) -> None:
    from vqcodec.models.loading import load_model
    from vqcodec.train.export import export_run

    network = timm_network(NAMES[layers], img_size=70, patch_size=14, **SMALL)  # resampled to 64 px, patches of 8
    torch.save(network.state_dict(), tmp_path / "x.pth")
    own = (f"pretrained.model={tmp_path / 'x.pth'}", f"tokenizer.backbone.encoder_layers={layers}", ENCODER)
    train(tmp_path / "run", recipe(photos, *own, "optimizer.steps=2"))
    export_run(tmp_path / "run", tmp_path / "model", report=lambda _: None)
    assert load_model(str(tmp_path / "model")).config.tokenizer.backbone.encoder_layers == layers  # type: ignore[union-attr]


def test_latent_tokens_have_no_place_on_the_grid_of_eva02() -> None:
    """Without positions of their own, latents are equal at all positions, and patches are not."""
    from vqcodec.backbones.vit_trunks import EvaTrunk

    torch.manual_seed(0)
    trunk = EvaTrunk(64, 2, 4).eval()
    patches, latents = torch.randn(1, 17, 64), torch.randn(1, 3, 64)
    with torch.no_grad():
        one = trunk(torch.cat([patches, latents], 1))
        other = trunk(torch.cat([patches, latents.flip(1)], 1))
        torch.testing.assert_close(other[:, 17:].flip(1), one[:, 17:], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(other[:, :17], one[:, :17], atol=1e-5, rtol=1e-4)
        moved = trunk(torch.cat([patches[:, :1], patches[:, 1:].flip(1), latents], 1))
    assert (moved[:, 17:] - one[:, 17:]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("clip-base", ("vit_base_patch16_clip_224.openai", 224)),
        ("eva02-base", ("eva02_base_patch14_224.mim_in22k", 224)),
    ],
)
def test_a_start_that_is_named_is_fetched_as_it_was_trained(
    model: str, asked: tuple[str, int], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = model.partition("-")[0]
    network = timm_network(NAMES[layers], img_size=64, patch_size=8, **SMALL)
    seen: list[tuple[str, object]] = []

    def create_model(name: str, **options: object) -> Any:
        seen.append((name, options["img_size"]))
        return network

    monkeypatch.setattr(teachers, "_import", lambda *_: SimpleNamespace(create_model=create_model))
    monkeypatch.setattr(from_vit, "SIZES", {model: (2, 64)})
    own = (f"pretrained.model={model}", f"tokenizer.backbone.encoder_layers={layers}", ENCODER)
    encoder = started(recipe(photos, *own))
    assert seen == [asked]
    assert torch.equal(encoder.trunk.whole, network.cls_token)


def test_starts_of_another_layout_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="encoder_layers=eva02"):
        load_recipe("softvq-b-64", ["pretrained.model=eva02-base"])
    load_recipe("softvq-b-64", ["pretrained.model=eva02-base", "tokenizer.backbone.encoder_layers=eva02"])
    with pytest.raises(UsageError, match="decoder's layers are DINOv2's"):
        load_recipe("xqgan-vq-4096", ["pretrained.model=clip-base", "tokenizer.backbone.encoder_layers=clip"])
    save_file(dinov2(), tmp_path / "x.safetensors")
    own = (f"pretrained.model={tmp_path / 'x.safetensors'}", "tokenizer.backbone.encoder_layers=eva02", ENCODER)
    with pytest.raises(InputError, match=r"lacks .* an EVA-02 of size B or L is needed"):
        started(recipe(photos, *own))


# Teachers


def through_timm(monkeypatch: pytest.MonkeyPatch, **smaller: Any) -> None:
    """Networks by their names in timm, but small; the file they are loaded from goes through timm's own filters."""
    timm: Any = teachers._import("timm", "a test", "")

    def create_model(name: str, **options: Any) -> Any:
        return timm.create_model(name, **{**options, **smaller})

    monkeypatch.setattr(teachers, "_import", lambda *_: SimpleNamespace(create_model=create_model))


@torch.no_grad()
def test_sam_gives_places_and_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**SMALL, "img_size": 64, "patch_size": 8, "neck_chans": 16, "window_size": 4, "global_attn_indexes": (1,)}
    network = timm_network("samvit_base_patch16", **small)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "sam.safetensors")
    through_timm(monkeypatch, **small)
    teacher = load_teacher("sam-base", "align/detail", "align.detail.weights", str(tmp_path / "sam.safetensors"))
    assert isinstance(teacher, teachers.SamTeacher)
    assert (teacher.width, teacher.blocks, teacher.px) == (16, 2, 1024)
    teacher.px = 64
    found = teacher(pictures(64))
    mean, std = (torch.tensor(values)[:, None, None] for values in teachers.IMAGENET)
    expected = network.forward_features(((pictures(64) + 1) / 2 - mean) / std)
    torch.testing.assert_close(found.places, expected.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.picture, expected.mean((2, 3)), atol=1e-5, rtol=1e-4)
    with pytest.raises(UsageError, match="SAM; take dino-small"):
        teacher.depths(pictures(64), (1,))


@torch.no_grad()
def test_eva02_has_its_last_norm_after_pooling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**SMALL, "img_size": 56}
    network = timm_network("eva02_base_patch14_224", **small)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "eva.safetensors")
    through_timm(monkeypatch, **small)
    teacher = load_teacher("eva02-base", "align/semantic", "align.semantic.weights", str(tmp_path / "eva.safetensors"))
    assert isinstance(teacher, teachers.EvaTeacher)
    teacher.px = 56
    found = teacher(pictures(56))
    mean, std = (torch.tensor(values)[:, None, None] for values in teachers.CLIP)
    expected = network.fc_norm(network.forward_features(((pictures(56) + 1) / 2 - mean) / std))
    torch.testing.assert_close(found.picture, expected[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.places, expected[:, 1:], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_dinov2_large_has_patches_of_16_px(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its published weights are for patches of 14 px and pictures of 518; timm resamples both."""
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    state = dinov2(patch=14, side=37)
    save_file(state, tmp_path / "large.safetensors")
    through_timm(monkeypatch, **SMALL)
    where = str(tmp_path / "large.safetensors")
    teacher = load_teacher("dinov2-large-p16", "align/semantic", "align.semantic.weights", where)
    assert isinstance(teacher, teachers.VitTeacher)
    assert (teacher.px, teacher.width) == (256, 64)
    found = teacher(pictures(256))
    assert found.places.shape == (2, 256, 64)
    weight = resample_patch_embed(state["patch_embed.proj.weight"], [16, 16])
    torch.testing.assert_close(teacher.network.patch_embed.proj.weight, weight, atol=1e-4, rtol=1e-3)
    positions = resample_abs_pos_embed(state["pos_embed"], [16, 16])
    torch.testing.assert_close(teacher.network.pos_embed, positions, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["sam-base", "eva02-base", "eva02-large", "dinov2-large-p16"])
def test_recipes_can_name_them(name: str) -> None:
    changes = [f"align.semantic.teacher={name}", "align.semantic.objective=cosine", "align.semantic.level=pooled"]
    assert load_recipe("softvq-b-64", changes).align.semantic.teacher == name
