"""Releases of the four systems: manifests match configurations; an import writes a whole model or no folder."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor
from torch.nn import functional as F

from vqcodec.config.backbones import VitConfig, VqganConfig
from vqcodec.config.model import DcaeConfig, TokenizerConfig, check_tokenizer
from vqcodec.config.quantizers import SplitConfig
from vqcodec.errors import ModelError, OutputError, UsageError
from vqcodec.importing import fqgan, mgvq, release, softvq, xqgan
from vqcodec.importing.matching import needed, own
from vqcodec.importing.release import SYSTEMS, System, find_release, import_release
from vqcodec.models import loading, registry
from vqcodec.tokenizer import Tokenizer

from ..reference import empty, loaded, referenced
from ..refusal import Invoke

MANIFESTS = {
    "mgvq-f8c32-g4": "mgvq_f8c32_g4",
    "mgvq-f8c32-g8": "mgvq_f8c32_g8",
    "mgvq-f16c32-g4": "mgvq_f16c32_g4",
    "mgvq-f16c32-g8": "mgvq_f16c32_g8",
    "mgvq-f32c32-g8": "mgvq_f32c32_g8",
    "fqgan-dual-8": "fqgan_dual_vq-8",
    "fqgan-dual-16": "fqgan_dual_vq-16",
    "fqgan-triple-8": "fqgan_triple_vq-8",
    "fqgan-triple-16": "fqgan_triple_vq-16",
    "xqgan-vq-4096": "xqgan_vq-4096",
    "xqgan-vq-8192": "xqgan_vq-8192",
    "xqgan-vp2-4096": "xqgan_vp2-4096",
    "xqgan-msvr10p2-4096": "xqgan_msvr10p2-4096",
    "xqgan-msbr10p2-4096": "xqgan_msbr10p2-4096",
    "xqgan-cnn-16384": "xqgan_cnn_vq16",
    "softvq-l-64": "softvq-l-64",
    "softvq-l-32": "softvq-l-32",
    "softvq-bl-64": "softvq-bl-64",
    "softvq-b-64": "softvq-b-64",
}


@referenced
@pytest.mark.parametrize("name", MANIFESTS)
def test_every_release_loads_whole(name: str) -> None:
    system, config = find_release(name)
    check_tokenizer(config, name)
    loaded(config, empty(MANIFESTS[name]), system.from_released)


@referenced
@pytest.mark.parametrize(
    ("name", "manifest"), [("xqgan-msvr10p2-4096", "xqgan_vits_msvr_p2"), ("softvq-l-32", "softvq_vits32")]
)
def test_small_variants_load_whole(name: str, manifest: str) -> None:
    """Released layouts with the small transformer and 1024 codewords of 16 channels."""
    system, config = find_release(name)
    backbone = structs.replace(
        config.backbone, encoder_width=384, decoder_width=384, encoder_depth=12, decoder_depth=12
    )
    quantizer = config.quantizer
    if isinstance(quantizer, SplitConfig):
        code = structs.replace(quantizer.part.base, codebook_size=1024, dim=16)
        quantizer = structs.replace(quantizer, part=structs.replace(quantizer.part, base=code))
    else:
        quantizer = structs.replace(quantizer, codebook_size=1024, dim=16)
    config = structs.replace(config, backbone=backbone, quantizer=quantizer)
    loaded(config, empty(manifest), system.from_released)


@pytest.mark.parametrize("name", [name for system in SYSTEMS for name in system.releases])
def test_no_two_of_our_tensors_come_from_one_place(name: str) -> None:
    system, config = find_release(name)
    check_tokenizer(config, name)
    keys = [key for source in module(system).sources(config, needed(config)).values() for key in source.keys]
    assert len(set(keys)) == len(keys)


def module(system: System) -> ModuleType:
    return {"MGVQ": mgvq, "XQ-GAN": xqgan, "FQGAN": fqgan, "SoftVQ-VAE": softvq}[system.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mgvq-f16-g4", "did you mean mgvq-f16c32-g4"),
        ("fqgan-dual", "did you mean fqgan-dual-"),
        ("???", "known: mgvq"),
    ],
)
def test_an_unknown_release_names_those_that_are(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_release(name)


# Tiny releases


def small(name: str) -> TokenizerConfig:
    """Configuration of a release with few channels; windows of 64 px where the input size is fixed."""
    _, config = find_release(name)
    backbone: DcaeConfig | VqganConfig | VitConfig
    if isinstance(config.backbone, DcaeConfig):
        n = len(config.backbone.widths)
        backbone = structs.replace(
            config.backbone, widths=(16, 32, 32, 64)[:n], encoder_depths=(1,) * n, decoder_depths=(1,) * n
        )
    elif isinstance(config.backbone, VqganConfig):
        n = len(config.backbone.widths)
        backbone = structs.replace(
            config.backbone, widths=(32,) * n, latent=8, encoder_depths=(1,) * n, decoder_depths=(1,) * n
        )
        backbone = structs.replace(backbone, adapter_depth=1, adapter_heads=4, adapter_window=64)
    else:
        assert isinstance(config.backbone, VitConfig)
        backbone = structs.replace(config.backbone, encoder_width=64, decoder_width=64, window=64, tokens=16)
        backbone = structs.replace(backbone, encoder_depth=1, decoder_depth=1)
    windows = {"window": 64, "overlap": 8} if config.window else {}
    return structs.replace(config, backbone=backbone, quantizer=smaller(config.quantizer), **windows)


def smaller(quantizer: Any) -> Any:
    """`quantizer` with at most 64 codewords and few scales."""
    fewer = {"codebook_size": 64, "bits": 5, "scales": (1, 1, 2, 3, 4)}
    known = set(quantizer.__struct_fields__)
    inner = {name: smaller(getattr(quantizer, name)) for name in ("part", "base") if name in known}
    return structs.replace(quantizer, **inner, **{name: x for name, x in fewer.items() if name in known})


def released(system: System, config: TokenizerConfig, seed: int = 0) -> dict[str, Tensor]:
    """State dict of random weights in the released layout; its latents vary between positions."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        tokenizer = Tokenizer(config).eval()
        for name, value in tokenizer.named_parameters():
            if name.endswith((".scale1", ".scale2")):
                value.fill_(1)
            if name.endswith((".latents", ".places.positions")):
                value.normal_()
        side = config.window or 64
        centre(tokenizer, F.interpolate(torch.rand(2, 3, side // 4, side // 4) * 2 - 1, side))
    ours = {name: value for name, value in tokenizer.state_dict().items() if not own(name)}
    state = {}
    for name, source in module(system).sources(config, ours).items():
        parts = ours[name] if len(source.keys) > 1 else ours[name][None]
        state |= {key: part.reshape(source.shape).clone() for key, part in zip(source.keys, parts, strict=True)}
    return state


def centre(tokenizer: Tokenizer, x: Tensor) -> None:
    """Shift the latents of pictures x to mean 0, so that a constant part does not decide the indices."""
    means: list[tuple[Any, Tensor]] = []
    layers = [layer for name, layer in tokenizer.encoder.named_modules() if name.endswith("to_latent")]
    hooks = [
        layer.register_forward_hook(lambda layer, _, y: means.append((layer, y if y.dim() == 3 else y.movedim(1, -1))))
        for layer in layers
    ]
    tokenizer.encoder(x)
    for layer, rows in means:
        layer.bias -= rows.flatten(0, -2).mean(0)
    for hook in hooks:
        hook.remove()


TINY = [
    "mgvq-f8c32-g4",
    "fqgan-dual-16",
    "fqgan-triple-8",
    "xqgan-vq-4096",
    "xqgan-vp2-4096",
    "xqgan-msvr10p2-4096",
    "xqgan-msbr10p2-4096",
    "xqgan-cnn-16384",
    "softvq-bl-64",
]


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_becomes_a_model(name: str, tmp_path: Path) -> None:
    system, config = find_release(name)
    config = small(name)
    state = released(system, config)
    made = import_release(system, config, state | {training(system): torch.ones(3)}, tmp_path / "m", name)
    assert made.skipped == {training(system): 1}
    model = loading.load(registry.find(str(tmp_path / "m")))
    assert model.config == made.config
    for key, value in system.from_released(config, state).items():
        assert torch.equal(model.tokenizer.state_dict()[key], value)
    again = import_release(system, config, dict(reversed(state.items())), tmp_path / "n", "other")
    assert (again.config.token_id, again.config.entropy_id) == (made.config.token_id, made.config.entropy_id)
    assert model.entropy.kind == "adaptive"
    assert name in (tmp_path / "m" / "README.md").read_text()


def training(system: System) -> str:
    """Name of a tensor for training only."""
    return {
        "MGVQ": "quantize.embed_prob",
        "XQ-GAN": "semantic_model.norm.weight",
        "FQGAN": "feat_pred_head.ln_pre.bias",
        "SoftVQ-VAE": "repa_model.norm.bias",
    }[system.name]


@pytest.mark.parametrize("name", TINY)
def test_what_is_not_the_release_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    system, config = find_release(name)
    config = small(name)
    state = released(system, config)
    key = next(key for key, value in state.items() if value.dim() == 4)  # a convolution; every release has one
    for change, message in (
        ({}, rf"lacks {key}"),
        ({key: state[key], "stowaway": torch.ones(1)}, "unknown stowaway"),
        ({key: state[key][:-1]}, r"\[\d+, \d+, \d+, \d+\]; \[\d+, \d+, \d+, \d+\] needed"),
        ({key: state[key].int()}, "a dense float tensor is needed"),
        ({key: torch.full_like(state[key], torch.nan)}, "not finite"),
        ({key: torch.where(state[key] == state[key].max(), torch.inf, state[key])}, "not finite"),
        ({key: state[key].double() * 1e300}, "not finite"),
        ({key: state[key].to("meta")}, "has no values"),
        ({key: state[key].to_sparse()}, "a dense float tensor is needed"),
    ):
        without = {other: value for other, value in state.items() if other != key}
        with pytest.raises(ModelError, match=message) as raised:
            import_release(system, config, without | change, tmp_path / "m", name)
        assert "\n" not in str(raised.value)
        assert os.listdir(tmp_path) == []


def test_a_model_is_overwritten_only_by_force(tmp_path: Path) -> None:
    system, config = find_release("xqgan-vq-4096")[0], small("xqgan-vq-4096")
    first = import_release(system, config, released(system, config), tmp_path / "m", "a")
    with pytest.raises(OutputError, match="add -f"):
        import_release(system, config, released(system, config, 1), tmp_path / "m", "b")
    assert registry.read_config(tmp_path / "m") == first.config
    second = import_release(system, config, released(system, config, 1), tmp_path / "m", "b", force=True)
    assert registry.read_config(tmp_path / "m") == second.config
    assert loading.load(registry.find(str(tmp_path / "m"))).tokenizer is not None
    assert sorted(os.listdir(tmp_path / "m")) == ["README.md", "config.json", "model.safetensors"]
    assert os.listdir(tmp_path) == ["m"]
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "m"):
        with pytest.raises(OutputError):
            import_release(system, config, released(system, config), folder, "c")


def test_half_precision_stays_and_other_kinds_become_single(tmp_path: Path) -> None:
    system, config = find_release("xqgan-vq-4096")[0], small("xqgan-vq-4096")
    state = released(system, config)
    types = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float64: np.float32}
    for kind, expected in types.items():
        changed = {key: value.to(kind) for key, value in state.items()}
        import_release(system, config, changed, tmp_path / str(kind), "a")
        tensors = loading.load(registry.find(str(tmp_path / str(kind)))).tensors
        assert {value.dtype for value in tensors.values()} == {np.dtype(expected)}


# The command


@pytest.fixture
def tiny_release(monkeypatch: pytest.MonkeyPatch) -> tuple[System, TokenizerConfig]:
    """Register `xqgan-tiny` as a release during the test."""
    system, config = find_release("xqgan-vp2-4096")[0], small("xqgan-vp2-4096")
    releases: Mapping[str, TokenizerConfig] = {**system.releases, "xqgan-tiny": config}
    changed = tuple(s._replace(releases=releases) if s is system else s for s in SYSTEMS)
    monkeypatch.setattr(release, "SYSTEMS", changed)
    return system, config


def test_the_command_makes_a_model_that_others_find(
    tiny_release: tuple[System, TokenizerConfig], invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path))
    state = {f"module.{key}": value for key, value in released(*tiny_release).items()}
    state |= {f"module.semantic_model.{name}": torch.ones(1) for name in "xy"}
    settings = argparse.Namespace(lr=1e-4)
    torch.save({"ema": state, "args": settings, "steps": 3}, tmp_path / "x.pt")
    code, out, err = invoke("models", "import", "xqgan-tiny", tmp_path / "x.pt", "-o", tmp_path / "m", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["name"], record["left_out"]) == ("xqgan-tiny", {"semantic_model.*": 2})
    code, _, err = invoke("models", "import", "xqgan-tiny", tmp_path / "x.pt", "-o", tmp_path / "n", "--name", "mine")
    assert code == 0
    assert f"model 'mine', {record['token_id']}/{record['entropy_id']}" in err
    assert "for training only: semantic_model.* (2)" in err
    assert invoke("models", "verify", "mine")[0] == 0
    assert "xqgan-tiny" in invoke("models", "show", "xqgan-tiny")[1]
    assert invoke("models", "import", "xqgan-tiny", tmp_path / "x.pt", "-o", tmp_path / "m")[0] == 7


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("code", 3),
        ("cut", 3),
        ("text", 3),
        ("missing", 3),
        ("nothing", 3),
        ("shape", 5),
        ("nan", 5),
        ("extra", 5),
        ("lack", 5),
    ],
)
def test_what_is_refused_ends_in_one_line_and_leaves_nothing(
    content: str, code: int, tiny_release: tuple[System, TokenizerConfig], invoke: Invoke, tmp_path: Path
) -> None:
    state, path, sentinel = released(*tiny_release), tmp_path / "x.pt", tmp_path / "ran"
    key = "decoder.mask_token"
    tree: object = {"model": state, "args": Touch(sentinel)} if content == "code" else {"model": state}
    match content:
        case "shape":
            state[key] = state[key][..., :-1]
        case "nan":
            state[key][0, 0, 0] = torch.nan
        case "extra":
            state["x"] = torch.ones(1)
        case "lack":
            del state[key]
        case "nothing":
            tree = {"steps": 3}
    if content != "missing":
        torch.save(tree, path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if content == "text":
        path.write_text("weights")
    before = os.listdir(tmp_path)
    found, out, err = invoke("models", "import", "xqgan-tiny", path, "-o", tmp_path / "m")
    assert (found, out) == (code, "")
    assert err.startswith(f"vqcodec: {path}: ")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == before
    assert not sentinel.exists()


class Touch:
    """Object whose pickle calls a function that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_an_unknown_release_is_a_usage_error(invoke: Invoke, tmp_path: Path) -> None:
    code, _, err = invoke("models", "import", "mgvq", tmp_path / "x.pt", "-o", tmp_path / "m")
    assert code == 2
    assert "mgvq-f16c32-g4" in err
