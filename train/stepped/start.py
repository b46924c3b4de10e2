"""Start of a model with a quantization step: the pictures' Karhunen-Loeve transform, or another model.

In both cases the latent is in Karhunen-Loeve order, and all its channels have the same gain in the pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.backbones.conv import ConvDecoder, ConvEncoder
from vqcodec.backbones.folded import FINEST_STRIDE, FOLD, FoldedDecoder, FoldedEncoder, ModulatedBlock
from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model
from vqcodec.tokenizer import Tokenizer

from ..conv_layers import bias_of, linear_of, set_layer, shrink
from ..decoder_gain import decoder_gain
from ..start.from_klt import klt

PROBE = 0.05
"""Noise that measures the decoder's gain, in standard deviations of a channel."""
PROBED = 12
"""Crops that the gain is measured on."""
LEAST_GAIN = 1e-6
"""Least gain of a channel; the transform scales channels by the root of their gain."""


@torch.no_grad()
def start_from_pictures(model: Tokenizer, x: Tensor) -> None:
    """Set the linear maps from crops x [B, 3, H, W] in -1..1; networks start small.

    One map leads from blocks of 8 x 8 pixels to the bottleneck, the other from 2 x 2 of these to the latent.
    """
    encoder, decoder = _folded(model)
    mean, basis, _ = klt(x, FINEST_STRIDE)
    n = encoder.linear.weight.shape[0]
    basis = basis[:, :n]
    set_layer(encoder.linear, basis.T[:, :, None, None], -(mean @ basis))
    set_layer(decoder.linear, basis[:, :, None, None], mean)
    for layer in (encoder.head, decoder.tail):
        shrink(layer)
    narrow = torch.cat([encoder.linear(F.pixel_unshuffle(part, FINEST_STRIDE)) for part in x.split(16)])
    _set_fold(encoder, decoder, narrow, torch.ones(n))


@torch.no_grad()
def start_from_conv(model: Tokenizer, name: str, x: Tensor) -> None:
    """Take over the networks of model `name`, a `conv` backbone of one stage, with its latent as the bottleneck.

    Blocks that the new decoder lacks are dropped at even spacing. Raises UsageError for other backbones or widths.
    """
    encoder, decoder = _folded(model)
    old = load_model(name).tokenizer
    e, d = old.encoder, old.decoder
    if not isinstance(e, ConvEncoder) or not isinstance(d, ConvDecoder) or len(e.stages) != 1 or e.linear is None:
        raise UsageError(f"start_from '{name}': a model of a conv backbone at stride 8 with a linear path is needed")
    if e.stem.weight.shape != encoder.stem.weight.shape or old.channels != encoder.linear.weight.shape[0]:
        raise UsageError(
            f"start_from '{name}': has width {len(e.stem.weight)} and {old.channels} channels; the recipe's width and "
            f"bottleneck are {len(encoder.stem.weight)} and {encoder.linear.weight.shape[0]}"
        )
    for new, known in (
        (encoder.stem, e.stem),
        (encoder.head, e.head),
        (encoder.linear, e.linear),
        (decoder.tail, d.tail),
    ):
        new.load_state_dict(known.state_dict())
    _copy_blocks(list(encoder.blocks), _blocks(e.stages[0]))
    _copy_blocks([block.block for block in decoder.blocks if isinstance(block, ModulatedBlock)], _blocks(d.stages[0]))
    n = old.channels
    for to, layer in ((decoder.head, d.head), (decoder.linear, linear_of(d))):
        # The old decoder received ones for groups that are kept.
        set_layer(to, layer.weight[:, :n], bias_of(layer) + layer.weight[:, n:].sum((1, 2, 3)))
    narrow = torch.cat([e(part) for part in x.split(8)])
    some = narrow[:PROBED]
    kept = some.new_ones(len(some), old.quantizer.groups, *some.shape[2:])
    channels = torch.arange(n).split(1)
    gains = decoder_gain(d, some, kept, channels, PROBE * some.std((0, 2, 3)))
    _set_fold(encoder, decoder, narrow, gains.clamp_min(LEAST_GAIN))


def _folded(model: Tokenizer) -> tuple[FoldedEncoder, FoldedDecoder]:
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, FoldedEncoder)
    assert isinstance(decoder, FoldedDecoder)
    return encoder, decoder


def _blocks(stage: nn.Module) -> list[nn.Module]:
    """Blocks of a stage, in order."""
    return list(stage.children())


def _copy_blocks(new: list[nn.Module], known: list[nn.Module]) -> None:
    """Copy evenly spaced blocks of `known` into `new`; further blocks of `new` are not set."""
    count = min(len(new), len(known))
    for i in range(count):
        new[i].load_state_dict(known[round(i * (len(known) - 1) / max(count - 1, 1))].state_dict())


def _set_fold(encoder: FoldedEncoder, decoder: FoldedDecoder, narrow: Tensor, gains: Tensor) -> None:
    """The Karhunen-Loeve transform of 2x2 positions of the bottleneck [B, C, H, W], scaled by the channels' gains."""
    scale = gains.sqrt().repeat_interleave(FOLD**2)
    rows = F.pixel_unshuffle(narrow, FOLD).permute(0, 2, 3, 1).flatten(0, 2) * scale
    mean = rows.mean(0)
    centred = (rows - mean).double()
    basis = torch.linalg.eigh(centred.T @ centred / len(centred))[1].flip(1).float()
    channels = encoder.fold.weight.shape[0]
    basis = basis[:, :channels]
    set_layer(encoder.fold, (basis.T * scale)[:, :, None, None], -(basis.T @ mean))
    columns = torch.zeros_like(decoder.unfold.weight)
    columns[:, :channels] = (basis / scale[:, None])[:, :, None, None]
    set_layer(decoder.unfold, columns, mean / scale)
