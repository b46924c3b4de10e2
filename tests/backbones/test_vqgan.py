"""The VQGAN backbone: building blocks, the authors' reference values, and properties of this implementation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vqcodec.backbones.vqgan_blocks import Adapter, AdapterLayer, Attention, Down, ResidualBlock, Up, self_attention
from vqcodec.config.backbones import VqganConfig
from vqcodec.config.model import TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.importing import fqgan, xqgan
from vqcodec.tokenizer import Tokenizer

from ..reference import close, fill, filled, loaded, referenced, vector


def tiny(adapters: int = 0, groups: int = 1) -> TokenizerConfig:
    """Configuration of stride 4; input of 64 px with adapters."""
    backbone = VqganConfig(
        (32, 32, 64),
        (1, 1, 1),
        (2, 2, 2),
        latent=16,
        adapters=adapters,
        adapter_depth=2,
        adapter_heads=4,
        adapter_window=64,
    )
    return TokenizerConfig(4, backbone, ProductVQConfig(groups, 64, 8, normalised=True, fill="zero"))


# Building blocks


def normalised(x: torch.Tensor, groups: int = 32) -> torch.Tensor:
    """Mean 0 and variance 1 over groups of channels and all positions, by the formula."""
    rows = x.reshape(len(x), groups, -1).double()
    rows = (rows - rows.mean(2, keepdim=True)) / (rows.var(2, correction=0, keepdim=True) + 1e-6).sqrt()
    return rows.reshape(x.shape).float()


@pytest.mark.parametrize("width", [32, 64])
def test_a_residual_block_is_what_it_says(width: int) -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(32, width), torch.randn(2, 32, 6, 5)
    y = block.conv1(F.silu(normalised(x)))
    y = block.conv2(F.silu(normalised(y)))
    shortcut = x if width == 32 else F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x), shortcut + y, rtol=1e-4, atol=1e-5)


def test_attention_has_one_head_over_all_positions() -> None:
    torch.manual_seed(0)
    block, x = Attention(32), torch.randn(2, 32, 3, 4)
    y = normalised(x)
    q, k, v = (part(y).flatten(2).double() for part in (block.q, block.k, block.v))
    weights = torch.softmax(torch.einsum("bcq,bck->bqk", q, k) / 32**0.5, -1)
    found = torch.einsum("bqk,bck->bcq", weights, v).reshape(x.shape).float()
    torch.testing.assert_close(block(x), x + block.project(found), rtol=1e-4, atol=1e-5)


def test_down_continues_by_zeros_on_the_right_and_below() -> None:
    down = Down(1).requires_grad_(False)
    down.conv.weight.fill_(1)
    down.conv.bias.zero_()
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    #  0  1  2  3 | 0      The windows start at rows and columns 0 and 2 and are 3 wide.
    #  4  5  6  7 | 0
    #  8  9 10 11 | 0
    # 12 13 14 15 | 0
    assert down(x).flatten().tolist() == [45, 39, 66, 50]


def test_up_repeats_before_it_filters() -> None:
    up = Up(1).requires_grad_(False)
    up.conv.weight.zero_()
    up.conv.weight[0, 0, 1, 1] = 1
    up.conv.bias.zero_()
    found = up(torch.tensor([[[[1.0, 2.0]]]]))
    assert found.tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


def test_self_attention_splits_heads_as_torch_does() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(24, 3, batch_first=True).eval()
    x = torch.randn(2, 7, 24)
    expected, _ = layer(x, x, x, need_weights=False)
    qkv = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    torch.testing.assert_close(layer.out_proj(self_attention(qkv, 3)), expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_is_a_transformer_that_normalises_first() -> None:
    torch.manual_seed(0)
    adapter, x = Adapter(16, 12, 2, 4).eval(), torch.randn(2, 16, 3, 4)
    rows = adapter.norm_in(x.flatten(2).transpose(1, 2) + adapter.positions)
    for layer in adapter.layers:
        assert isinstance(layer, AdapterLayer)
        same = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
        names = {
            "self_attn.in_proj_weight": layer.qkv.weight,
            "self_attn.in_proj_bias": layer.qkv.bias,
            "self_attn.out_proj.weight": layer.project.weight,
            "self_attn.out_proj.bias": layer.project.bias,
            "linear1.weight": layer.expand.weight,
            "linear1.bias": layer.expand.bias,
            "linear2.weight": layer.narrow.weight,
            "linear2.bias": layer.narrow.bias,
        } | {f"norm{i}.{p}": getattr(getattr(layer, f"norm{i}"), p) for i in (1, 2) for p in ("weight", "bias")}
        same.load_state_dict(names)
        rows = same(rows)
    expected = adapter.norm_out(rows).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(adapter(x), expected, rtol=1e-4, atol=1e-5)


# The whole of it


@pytest.mark.parametrize(("adapters", "groups"), [(0, 1), (0, 3), (2, 2), (3, 3)])
def test_branches_share_the_latent(adapters: int, groups: int) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(tiny(adapters, groups)).eval()
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        z = tokenizer.encoder(x)
        assert z.shape == (1, 8 * groups, 16, 16)
        planes = tokenizer.encode(x)
        assert [plane.shape for plane in planes] == [(1, 16, 16)] * groups
        assert tokenizer.decode(planes).shape == x.shape
        if adapters:
            tokenizer.encoder.branches[1].to_latent.bias += 1
            change = (tokenizer.encoder(x) - z).abs().amax((0, 2, 3)) > 0.5
            assert change.tolist() == [8 <= channel < 16 for channel in range(8 * groups)]


def test_without_adapters_any_size_will_do_and_with_them_one() -> None:
    x = torch.zeros(1, 3, 40, 24)
    assert Tokenizer(tiny(0, 2)).encoder(x).shape == (1, 16, 10, 6)
    with pytest.raises(RuntimeError):
        Tokenizer(tiny(2, 2)).encoder(x)


@pytest.mark.parametrize(("adapters", "groups"), [(0, 2), (2, 2)])
def test_it_trains(adapters: int, groups: int) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(tiny(adapters, groups), learning="gradient").train()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        result = tokenizer(x, torch.ones(2, groups, 16, 16), torch.randn(2, 8 * groups, 16, 16))
    ((result.x.float() - x).square().mean() + 0.25 * result.commitment + result.codebook).backward()
    gradients = {name: value.grad for name, value in tokenizer.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values() if gradient is not None)
    assert tokenizer.decoder.last_layer.grad is not None


# The authors' numbers


@referenced
def test_a_small_network_agrees_with_the_authors_code() -> None:
    data = vector("llamagen_cnn_tiny")
    state = {key[3:]: value for key, value in data.items() if key.startswith("sd/")}
    tokenizer = loaded(tiny(), state, xqgan.from_released)
    with torch.no_grad():
        close(tokenizer.encoder(data["x"]), data["out/quant_in"], 1e-4)
        assert torch.equal(tokenizer.encode(data["x"])[0], data["out/indices"].long())
        planes = [data["out/indices"].long()]
        close(tokenizer.quantizer.dequantize(planes)[0], data["out/quant"], 1e-6)
        close(tokenizer.decode(planes), data["out/recon"], 1e-4)


@pytest.mark.slow
@referenced
def test_fqgan_agrees_with_the_authors_code() -> None:
    data = vector("fqgan_dual_vq16_filled")
    tokenizer = loaded(fqgan.RELEASES["fqgan-dual-16"], filled("fqgan_dual_vq-16"), fqgan.from_released)
    planes = list(data["out/indices"].long().permute(3, 0, 1, 2))
    seen: list[torch.Tensor] = []
    for branch in tokenizer.encoder.branches:
        branch.to_latent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        found = tokenizer.encode(fill().image(1, 3, 256, 256))
        assert all(torch.equal(plane, other) for plane, other in zip(found, planes, strict=True))
        for part, name in zip(seen, ("vis", "sem"), strict=True):
            close(part, data[f"out/encoder_{name}_f16"], 5e-3)
        close(tokenizer.quantizer.dequantize(planes)[0], data["out/quant"], 1e-6)
        close(tokenizer.decode(planes), data["out/recon_f16"], 5e-3)
