"""The vision transformer with latent tokens: layers, sequences, and the authors' reference values."""

from __future__ import annotations

import pytest
import torch
from msgspec import structs
from torch import nn
from torch.nn import functional as F

from vqcodec.backbones.vit import VitDecoder, VitEncoder, unpatched
from vqcodec.backbones.vit_blocks import Layer, Trunk, resampled
from vqcodec.config.backbones import HEAD, VitConfig
from vqcodec.config.model import TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.importing import xqgan
from vqcodec.tokenizer import Tokenizer

from ..reference import close, fill, filled, loaded, referenced, vector

TINY = VitConfig(64, 128, 2, 1, patch=8, tokens=16, window=32)
"""A picture of 4 x 4 patches, a latent of 4 x 4 tokens."""


def seen_by(trunk: Trunk) -> list[torch.Tensor]:
    """List that is filled with the input sequences of `trunk`."""
    found: list[torch.Tensor] = []
    trunk.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    return found


# Building blocks


def test_a_layer_is_a_transformers_with_scales() -> None:
    torch.manual_seed(0)
    layer, x = Layer(2 * HEAD, 0.1).eval(), torch.randn(2, 5, 2 * HEAD)
    with torch.no_grad():
        layer.scale1.normal_()
        layer.scale2.normal_()
        attention = nn.MultiheadAttention(2 * HEAD, 2, batch_first=True).eval()
        attention.in_proj_weight.copy_(layer.qkv.weight)
        attention.in_proj_bias.copy_(layer.qkv.bias)
        attention.out_proj.load_state_dict(layer.project.state_dict())
        y = F.layer_norm(x, (2 * HEAD,), layer.norm1.weight, layer.norm1.bias, 1e-6)
        middle = x + layer.scale1 * attention(y, y, y, need_weights=False)[0]
        y = F.layer_norm(middle, (2 * HEAD,), layer.norm2.weight, layer.norm2.bias, 1e-6)
        expected = middle + layer.scale2 * layer.narrow(F.gelu(layer.expand(y)))
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_positions_on_another_grid_keep_the_whole_and_the_slopes() -> None:
    side = torch.linspace(0, 1, 16)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(1, 256, 2)
    positions = torch.cat([torch.full((1, 1, 2), 7.0), grid], 1)
    assert resampled(positions, 256) is positions
    found = resampled(positions, 121)
    assert found.shape == (1, 122, 2)
    assert found[0, 0].tolist() == [7, 7]
    small = found[0, 1:].reshape(11, 11, 2)
    torch.testing.assert_close(small[:, :, 0], small[:, :, 1].T)
    torch.testing.assert_close(small[5, 5], torch.tensor([0.5, 0.5]))
    steps = small[3:-3, 3, 0].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 16 / 15 / 11), rtol=2e-2, atol=0)


def test_patches_go_back_where_convolution_took_them_from() -> None:
    x = torch.arange(2 * 3 * 12 * 12.0).reshape(2, 3, 12, 12)
    take = nn.Conv2d(3, 3 * 4 * 4, 4, stride=4, bias=False).requires_grad_(False)
    # Output channel (row, column, colour) of a patch.
    for i in range(48):
        row, column, colour = i // 12, i // 3 % 4, i % 3
        take.weight[i].zero_()
        take.weight[i, colour, row, column] = 1
    torch.testing.assert_close(unpatched(take(x).flatten(2).transpose(1, 2), 4), x)


# Contents of the sequences


@pytest.mark.parametrize("branches", [1, 2])
def test_the_encoder_sees_patches_and_then_the_tokens_of_each_branch(branches: int) -> None:
    torch.manual_seed(0)
    encoder = VitEncoder(structs.replace(TINY, branches=branches, tokens=9), 6 * branches, branches).eval()
    seen, x = seen_by(encoder.trunk), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        encoder.latents.normal_()
        z = encoder(x)
        parts, places = encoder.places.parts, resampled(encoder.trunk.positions, 9)[0, 1:]
        patches = encoder.patches(x).flatten(2)[0].T + encoder.trunk.positions[0, 1:] + parts[0]
        whole = encoder.trunk.whole[0] + encoder.trunk.positions[0, :1] + parts[0]
        latents = [
            encoder.latents[0, 9 * branch : 9 * branch + 9] + places + parts[1 + branch] for branch in range(branches)
        ]
        torch.testing.assert_close(seen[0][0], torch.cat([whole, patches, *latents]))
        rows = encoder.to_latent(encoder.trunk(seen[0]))[0, 17:]
        for branch in range(branches):
            expected = rows[9 * branch : 9 * branch + 9].T.reshape(6, 3, 3)
            torch.testing.assert_close(z[0, 6 * branch : 6 * branch + 6], expected)


def test_the_decoder_of_a_grid_sees_the_whole_twice() -> None:
    torch.manual_seed(0)
    decoder = VitDecoder(structs.replace(TINY, branches=2), 12, 2).eval()
    seen, z = seen_by(decoder.trunk), torch.randn(1, 12, 4, 4)
    with torch.no_grad():
        assert decoder(z, torch.ones(1, 2, 4, 4)).shape == (1, 3, 32, 32)
        positions, parts = decoder.trunk.positions[0], decoder.places.parts
        whole = decoder.trunk.whole[0] + positions[:1]
        blank = decoder.blank[0] + positions[1:]
        latent = decoder.from_latent(z.flatten(2)[0].T) + positions[1:]
        expected = [whole + parts[0], blank + parts[0], whole + parts[1], latent + parts[1]]
        torch.testing.assert_close(seen[0][0], torch.cat(expected))


def test_a_sequence_has_learned_places_and_no_second_whole() -> None:
    torch.manual_seed(0)
    config = structs.replace(TINY, tokens=6, positions="learned", layout="line")
    encoder, decoder = VitEncoder(config, 5, 1).eval(), VitDecoder(config, 5, 1).eval()
    sent, read = seen_by(encoder.trunk), seen_by(decoder.trunk)
    with torch.no_grad():
        z = encoder(torch.randn(1, 3, 32, 32))
        assert z.shape == (1, 5, 6)
        assert decoder(z, torch.ones(1, 1, 6)).shape == (1, 3, 32, 32)
        torch.testing.assert_close(sent[0][0, 17:], encoder.latents[0] + encoder.places.positions[0])
        assert read[0].shape == (1, 1 + 16 + 6, 128)
        latent = decoder.from_latent(z[0].T) + decoder.places.positions[0]
        torch.testing.assert_close(read[0][0, 17:], latent)
        torch.testing.assert_close(z[0].T, encoder.to_latent(encoder.trunk(sent[0]))[0, 17:])


def test_it_trains() -> None:
    torch.manual_seed(0)
    config = TokenizerConfig(8, structs.replace(TINY, branches=2), ProductVQConfig(2, 16, 4, normalised=True), 32)
    tokenizer = Tokenizer(config, learning="gradient").train()
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        result = tokenizer(x, torch.rand(2, 2, 4, 4).round(), torch.randn(2, 8, 4, 4))
    ((result.x.float() - x).square().mean() + 0.25 * result.commitment + result.codebook).backward()
    gradients = {name: value.grad for name, value in tokenizer.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values() if gradient is not None)
    assert tokenizer.decoder.last_layer.grad is not None


# The authors' numbers


@pytest.mark.slow
@referenced
def test_a_full_sized_model_agrees_with_the_authors_code() -> None:
    data = vector("xqgan_vits_vq_filled")
    quantizer = ProductVQConfig(1, 1024, 16, normalised=True, fill="zero")
    config = TokenizerConfig(16, VitConfig(384, 384), quantizer, window=256)
    tokenizer = loaded(config, filled("xqgan_vits_vq"), xqgan.from_released)
    rows: list[torch.Tensor] = []
    tokenizer.encoder.to_latent.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0]))
    with torch.no_grad():
        z = tokenizer.encoder(fill().image(1, 3, 256, 256))
        close(rows[0], data["out/encoder_tokens"], 1e-3)
        close(z, data["out/quant_in"], 1e-3)
        planes = [data["out/indices"].long().reshape(1, 16, 16)]
        assert torch.equal(tokenizer.quantizer.quantize(z)[0], planes[0])
        close(tokenizer.decode(planes).clamp(-1, 1), data["out/recon_clamped_f16"], 5e-3)
