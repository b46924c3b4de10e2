"""Setting of single layers of a backbone: linear paths, and networks parallel to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcodec.backbones.conv import ConvDecoder, ConvEncoder
from vqcodec.tokenizer import Tokenizer

NETWORK_SCALE = 0.1
"""Factor on the last layers of the networks parallel to a linear path."""


def conv_networks(tokenizer: Tokenizer) -> tuple[ConvEncoder, ConvDecoder]:
    """Encoder and decoder of a tokenizer with a conv backbone."""
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    assert isinstance(encoder, ConvEncoder)
    assert isinstance(decoder, ConvDecoder)
    return encoder, decoder


def linear_of(network: ConvEncoder | ConvDecoder) -> nn.Conv2d:
    """Linear path of a network that has one."""
    assert network.linear is not None
    return network.linear


def bias_of(layer: nn.Conv2d) -> Tensor:
    """Bias [out] of a layer that has one."""
    assert layer.bias is not None
    return layer.bias


@torch.no_grad()
def set_layer(layer: nn.Conv2d | None, weight: Tensor, bias: Tensor) -> None:
    """Copy weight [out, in, kh, kw] and bias [out] into a layer that has both."""
    assert layer is not None
    layer.weight.copy_(weight)
    bias_of(layer).copy_(bias)


@torch.no_grad()
def shrink(layer: nn.Conv2d) -> None:
    """Scale the last layer of a network parallel to a linear path, which starts small."""
    layer.weight.mul_(NETWORK_SCALE)
    bias_of(layer).zero_()
