"""The DC-AE backbone and MGVQ's released tensors: building blocks, the authors' reference values, and a file."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from torch import nn
from torch.nn import functional as F

import vqcodec
from vqcodec.backbones.dcae_blocks import (
    HEAD,
    AttentionBlock,
    Down,
    GatedConv,
    LinearAttention,
    Narrow,
    ResidualBlock,
    RMSNorm,
    Up,
    Widen,
    attend,
    mean_of_runs,
    repeated,
)
from vqcodec.config.model import ModelConfig, TokenizerConfig, check_tokenizer
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.errors import LimitError, ModelError
from vqcodec.importing.matching import needed
from vqcodec.importing.mgvq import CODEBOOKS, RELEASES, SKIPPED, from_released, released_name
from vqcodec.inference import networks
from vqcodec.models import loading
from vqcodec.planes import MISSING
from vqcodec.tokenizer import NO_RATE, Tokenizer, training_only

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
referenced = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"needs the authors' numbers in {REFERENCE}")


def tiny(stride: int, groups: int) -> TokenizerConfig:
    """MGVQ's layout with few channels: 32 latent channels, 256 codewords in all."""
    full = RELEASES[f"mgvq-f{stride}c32-g8"].backbone
    n = len(full.widths)
    small = {"widths": (16, 32, 32, 64), "encoder_depths": (1, 2, 1, 1), "decoder_depths": (1, 2, 1, 1)}
    backbone = structs.replace(full, **{name: value[:n] for name, value in small.items()})
    quantizer = ProductVQConfig(groups, 256 // groups, 32 // groups, normalised=True, fill="zero")
    return TokenizerConfig(stride, backbone, quantizer)


def filled() -> ModuleType:
    """Module that derives weights from their names."""
    spec = importlib.util.spec_from_file_location("fill", REFERENCE / "vectors" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(name: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Shapes of a released state dict, and the number of parameters."""
    found = json.loads((REFERENCE / "manifests" / f"{name.replace('-', '_')}.json").read_text())
    return {key: tuple(entry["shape"]) for key, entry in found["state_dict"].items()}, found["n_params"]


def loaded(config: TokenizerConfig, state: dict[str, torch.Tensor]) -> Tokenizer:
    """A tokenizer with released tensors, in evaluation mode."""
    with torch.device("meta"):
        tokenizer = Tokenizer(config).eval().requires_grad_(False)
    ours = tokenizer.state_dict()
    no_rate = {name: torch.full(ours[name].shape, value) for name, value in NO_RATE.items()}
    found = tokenizer.load_state_dict(from_released(config, state) | no_rate, strict=False, assign=True)
    assert found.unexpected_keys == []
    assert all(training_only(name) for name in found.missing_keys)
    return tokenizer


# Building blocks


def test_rms_norm_has_no_mean_and_keeps_its_digits() -> None:
    norm = RMSNorm(4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, 1, 1]))
        norm.bias.copy_(torch.tensor([0.0, 0, 0, 5]))
    x = torch.tensor([3.0, 3, 3, 3]).reshape(1, 4, 1, 1)
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([1.0, 2, 1, 6]))
    assert norm(x.bfloat16() * 1e30).dtype == torch.bfloat16


@pytest.mark.parametrize("n", [20, 32, 33, 100])
def test_attention_is_a_mean_weighted_by_products(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    q, k = (torch.randn(2, 3, 4, n, generator=generator).relu() for _ in range(2))
    v = torch.randn(2, 3, 4, n, generator=generator)
    found = attend(q, k, v)
    weights = torch.einsum("bhdk,bhdn->bhkn", k.double(), q.double())
    expected = torch.einsum("bhdk,bhkn->bhdn", v.double(), weights) / weights.sum(2, keepdim=True).clamp_min(1e-15)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_attention_reads_heads_one_after_the_other() -> None:
    torch.manual_seed(0)
    attention = LinearAttention(2 * HEAD, "rms").eval()
    x = torch.randn(1, 2 * HEAD, 7, 9)
    with torch.no_grad():
        before = attention.qkv(x)
        attention.qkv.weight[3 * HEAD :] = 0
        attention.project.weight.copy_(torch.eye(2 * HEAD)[:, :, None, None])
        q, k, v = (part.flatten(2)[:, None] for part in before[:, : 3 * HEAD].split(HEAD, 1))
        first = attend(q.relu(), k.relu(), v).reshape(1, HEAD, 7, 9)
        expected = attention.norm(torch.cat([first, torch.zeros_like(first)], 1))
        torch.testing.assert_close(attention(x), expected)


def test_attention_of_a_large_picture_in_bfloat16() -> None:
    torch.manual_seed(0)
    attention = LinearAttention(HEAD, "rms").eval()
    x = torch.rand(1, HEAD, 96, 96)
    with torch.no_grad():
        exact = attention(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = attention(x)
    assert (found.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("norm", ["rms", "batch"])
def test_blocks_keep_size_and_are_what_they_say(norm: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, HEAD, 6, 5)
    residual, gated, block = (kind(HEAD, norm, "silu") for kind in (ResidualBlock, GatedConv, AttentionBlock))
    torch.testing.assert_close(residual(x), x + residual.norm(residual.conv2(F.silu(residual.conv1(x)))))
    wide = gated.depthwise(F.silu(gated.expand(x)))
    value, gate = wide[:, : 4 * HEAD], wide[:, 4 * HEAD :]
    torch.testing.assert_close(gated(x), gated.norm(gated.project(value * F.silu(gate))))
    middle = x + block.attention(x)
    torch.testing.assert_close(block(x), middle + block.gated(middle))


def test_shortcuts_repeat_and_average_runs_of_channels() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert mean_of_runs(x, 3).flatten().tolist() == [0.5, 2.5, 4.5]
    assert repeated(x[:, :2], 6).flatten().tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("step", "shape"),
    [(Down(8, 16), (16, 2, 3)), (Up(8, 4), (4, 8, 12)), (Narrow(8, 2), (2, 4, 6)), (Widen(8, 16), (16, 4, 6))],
)
def test_steps_between_sizes_start_from_their_shortcuts(step: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(1, 8, 4, 6)
    y = silenced(step)(x)
    assert y.shape[1:] == shape
    torch.testing.assert_close(y.mean(), x.mean())


def test_shortcuts_down_and_up_again_lose_nothing() -> None:
    x = torch.randn(1, 8, 4, 6)
    torch.testing.assert_close(silenced(Up(32, 8))(silenced(Down(8, 32))(x)), x)
    torch.testing.assert_close(silenced(Narrow(32, 8))(silenced(Widen(8, 32))(x)), x)


def silenced(step: nn.Module) -> nn.Module:
    """`step` reduced to its shortcut."""
    return step.requires_grad_(False).apply(lambda m: [p.zero_() for p in m.parameters(recurse=False)])


def test_a_group_of_the_latent_is_mixed_within_itself() -> None:
    encoder = Tokenizer(tiny(8, 8)).encoder
    assert encoder.to_latent.weight.shape == (32, 4, 1, 1)
    assert encoder.halo is None


# The authors' numbers


@referenced
@pytest.mark.parametrize("name", ["mgvq_tiny_f16_g4", "mgvq_tiny_f8_g8"])
def test_small_models_agree_with_the_authors_code(name: str) -> None:
    with np.load(REFERENCE / "vectors" / f"{name}.npz") as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    config = tiny(16, 4) if "f16" in name else tiny(8, 8)
    tokenizer = loaded(config, {key[3:]: value for key, value in data.items() if key.startswith("sd/")})
    x, groups = data["x"], config.quantizer.groups
    planes = list(data["out/indices"].long().permute(3, 0, 1, 2))
    with torch.no_grad():
        torch.testing.assert_close(tokenizer.encoder.head(before_head(tokenizer, x)), data["out/encoder_out"])
        z = tokenizer.encoder(x)
        torch.testing.assert_close(z, data["out/quant_in"], rtol=0, atol=1e-4)
        check_indices(tokenizer.encode(x), data["out/indices"], data["out/margin"])
        for keep in range(groups + 1):
            shown = [plane if g < keep else torch.full_like(plane, MISSING) for g, plane in enumerate(planes)]
            z_q, _ = tokenizer.quantizer.dequantize(shown)
            torch.testing.assert_close(z_q, data[f"out/quant_first{keep}"], rtol=0, atol=1e-6)
            torch.testing.assert_close(tokenizer.decode(shown), data[f"out/recon_first{keep}"], rtol=0, atol=1e-4)
        torch.testing.assert_close(tokenizer.decode(planes), data["out/recon"], rtol=0, atol=1e-4)
        # Ours are relative to the mean square of a codeword of length 1; the commitment there includes its weight.
        rows, index = tokenizer.quantizer.rows(z), torch.stack(planes).flatten(1)
        code = tokenizer.quantizer.project(tokenizer.quantizer.bank.lookup(index))
        loss = (rows - code).square().mean((1, 2))
        torch.testing.assert_close(loss, data["out/train_vq_loss"])
        torch.testing.assert_close(0.25 * loss, data["out/train_commit_loss"])


def before_head(tokenizer: Tokenizer, x: torch.Tensor) -> torch.Tensor:
    """Input of the encoder's last 3 x 3 convolution."""
    seen: list[torch.Tensor] = []
    with tokenizer.encoder.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        tokenizer.encoder(x)
    return seen[0]


def check_indices(planes: list[torch.Tensor], expected: torch.Tensor, margin: torch.Tensor) -> None:
    """Compare indices where the nearest codeword is nearer than the second by a margin."""
    clear = margin > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(torch.stack(planes, -1)[clear], expected.long()[clear])


@pytest.mark.slow
@referenced
def test_a_full_sized_model_agrees_with_the_authors_code() -> None:
    fill = filled()
    with np.load(REFERENCE / "vectors" / "mgvq_real_f16c32_g4_filled.npz") as file:
        data = {key: torch.from_numpy(file[key]) for key in ("x", "out/indices", "out/margin", "out/recon_first3")}
    state = {
        key: torch.from_numpy(np.asarray(fill.value(key, shape, ""))).reshape(shape)
        for key, shape in manifest("mgvq-f16c32-g4")[0].items()
        if not re.match(SKIPPED[0], key)
    }
    tokenizer = loaded(RELEASES["mgvq-f16c32-g4"], state)
    with torch.no_grad():
        check_indices(tokenizer.encode(data["x"]), data["out/indices"], data["out/margin"])
        found = tokenizer.decode(list(data["out/indices"].long().permute(3, 0, 1, 2)), keep=3)
    torch.testing.assert_close(found, data["out/recon_first3"], rtol=0, atol=1e-3)


@referenced
@pytest.mark.parametrize("name", [name for name in RELEASES if not name.endswith("-mix")])
def test_every_release_loads_whole(name: str) -> None:
    shapes, n_parameters = manifest(name)
    tokenizer = loaded(RELEASES[name], {key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert sum(value.numel() for value in tokenizer.parameters()) + tokenizer.codebooks.numel() == n_parameters
    check_tokenizer(RELEASES[name], name)


# Released state dicts that are not what they should be


def released(config: TokenizerConfig) -> dict[str, torch.Tensor]:
    """State dict in the released layout, without values."""
    ours = needed(config)
    ours[CODEBOOKS] = ours[CODEBOOKS].flatten(0, 1)
    return {released_name(name, config.backbone): value for name, value in ours.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("quant_conv.bias"), r"lacks quant_conv\.bias"),
        (lambda s: s.__setitem__("stowaway", torch.zeros(1)), "unknown stowaway"),
        (lambda s: s.__setitem__("quant_conv.bias", torch.zeros(3)), r"quant_conv\.bias is \[3\]; \[32\] needed"),
        (lambda s: s.__setitem__("quantize.embedding.weight", torch.zeros(7, 8)), r"embedding\.weight is \[7, 8\]"),
        (lambda s: s.clear(), r"lacks .* and \d+ more"),
    ],
)
def test_another_variant_is_refused_in_one_line(change: object, message: str) -> None:
    config = tiny(16, 4)
    state = released(config)
    assert "quantizer.bank.counts" not in from_released(config, state)
    change(state)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message) as raised:
        from_released(config, state)
    assert "\n" not in str(raised.value)


# Training and files


def test_it_trains_in_bfloat16() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(tiny(8, 8), learning="gradient").train()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    kept, noise = torch.ones(2, 8, 8, 8), torch.randn(2, 32, 8, 8)
    mean = tokenizer.decoder.stages[0][0].norm.running_mean.clone()
    with torch.autocast("cpu", torch.bfloat16):
        result = tokenizer(x, kept, noise)
    loss = (result.x.float() - x).square().mean() + 0.25 * result.commitment + result.codebook
    loss.backward()
    without = [name for name, value in tokenizer.named_parameters() if value.grad is None]
    assert without == []
    assert all(bool(value.grad.isfinite().all()) for value in tokenizer.parameters() if value.grad is not None)
    assert not torch.equal(tokenizer.decoder.stages[0][0].norm.running_mean, mean)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DC-AE model of random weights, as a folder."""
    folder = tmp_path_factory.mktemp("dcae") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = Tokenizer(tiny(16, 4)).eval()
    layers = tuple((group,) for group in range(4))
    config = ModelConfig("tiny-dcae", tokenizer.config, "", "", "", layers, ())
    tensors = {k: v.numpy() for k, v in tokenizer.state_dict().items() if not training_only(k)}
    loading.write_model(folder, config, tensors)
    return folder


@pytest.fixture
def model(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> loading.Model:
    monkeypatch.setenv("VQCODEC_MODELS", str(model_folder.parent))
    return loading.load_model("tiny-dcae")


def test_a_file_holds_what_the_tokenizer_makes(model: loading.Model, photo: Image.Image) -> None:
    image = photo.crop((20, 30, 120, 90))
    data = vqcodec.encode(image, "tiny-dcae")
    pixels = np.pad(np.asarray(image), ((0, 4), (0, 12), (0, 0)), mode="edge")
    x = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        planes = model.tokenizer.encode(x)
        expected = ((model.tokenizer.decode(planes)[0] + 1) * 127.5).round().clamp(0, 255)
    found = vqcodec.decode_tokens(data)
    for plane, other in zip(planes, found.planes, strict=True):
        np.testing.assert_array_equal(plane[0].numpy(), other)
    shown = np.asarray(vqcodec.decode(data)).astype(int)
    assert shown.shape == (60, 100, 3)
    assert np.abs(shown - expected.permute(1, 2, 0).numpy()[:60, :100]).max() <= 1
    part = np.asarray(vqcodec.decode(data, region=(33, 17, 40, 20))).astype(int)
    np.testing.assert_array_equal(part, shown[17:37, 33:73])
    assert np.asarray(vqcodec.decode(data, keep=1)).shape == (60, 100, 3)


def test_a_picture_too_large_to_see_at_once_is_refused(
    model: loading.Model, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = vqcodec.encode(photo, "tiny-dcae")
    monkeypatch.setattr(networks, "MAX_WHOLE_PX", 200 * 150)
    for work in (lambda: vqcodec.encode(photo, "tiny-dcae"), lambda: vqcodec.decode(data, region=(0, 0, 1, 1))):
        with pytest.raises(LimitError, match=r"208x160 pixels: model 'tiny-dcae' .*compute_window"):
            work()
