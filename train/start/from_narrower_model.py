"""Start of a tokenizer with more channels and other groups from a trained one.

The network's knowledge is kept: the latent channels of the old model are rescaled and ordered by the energy they carry
in the pixels (decoder's gain times variance), and new channels take up the old model's residual.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vqcodec.errors import UsageError
from vqcodec.models.loading import load_model
from vqcodec.tokenizer import Tokenizer, to_unit

from ..casts import product_of
from ..conv_layers import bias_of, conv_networks, linear_of, set_layer
from ..data.crops import Crops
from ..decoder_gain import decoder_gain

CROPS = 96
"""Training crops that are measured."""
PROBE = 0.1
"""Standard deviation of the noise that measures the decoder's gain, in units of the old latent."""
PROBED = 8
"""Crops that the gain is measured on."""


@torch.no_grad()
def widen(tokenizer: Tokenizer, name: str, crops: Crops) -> None:
    """Set the network of `tokenizer` from the model called `name` or in that folder; codebooks are not set.

    Blocks that the new network lacks are dropped from the end of each stage. Raises UsageError where widths or
    stride differ, or where the new latent has fewer channels; ModelError if there is no such model.
    """
    old, new = load_model(name).tokenizer, tokenizer
    count = max(1, CROPS // crops.data.batch)
    x = to_unit(torch.cat([crops.batch(i) for i in range(count)]))
    x = x.contiguous(memory_format=torch.channels_last)
    _copy_trunk(old, new, name)
    z = torch.cat([old.encoder(part) for part in x.split(8)])
    kept = z.new_ones(len(z), old.quantizer.groups, *z.shape[2:])
    channels = torch.arange(old.channels).split(1)
    gain = decoder_gain(old.decoder, z[:PROBED], kept[:PROBED], channels, PROBE)  # [D]
    energy = gain * z.var((0, 2, 3))
    rest = x - torch.cat([old.decoder(*parts) for parts in zip(z.split(8), kept.split(8), strict=True)])
    more = new.channels - old.channels
    basis, rows, bias, left = _leftover(x, rest, old.stride, more)
    order = torch.cat([energy, left]).argsort(descending=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    scale = torch.cat([gain.clamp_min(1e-8).sqrt(), torch.ones(more)])  # new channels are in units of pixels
    # Within a group distances are those of pixels; the group as a whole has unit variance.
    carried = torch.cat([energy, left])[order]
    spread = torch.cat([part.mean().clamp_min(1e-8).sqrt().expand(len(part)) for part in carried.split(_widths(new))])
    factor = (scale[order] / spread)[place]
    _set_encoder(old, new, place, factor, rows, bias)
    _set_decoder(old, new, place, factor, basis)
    _set_fill(old, new, place, factor)


def _widths(tokenizer: Tokenizer) -> list[int]:
    return list(tokenizer.quantizer.widths)


def _copy_trunk(old: Tokenizer, new: Tokenizer, name: str) -> None:
    """Copy all tensors of the networks except those next to the latent."""
    ends = ("encoder.head", "encoder.linear", "decoder.head", "decoder.linear")
    have = {key: value for key, value in old.state_dict().items() if key.startswith(("encoder.", "decoder."))}
    if old.stride != new.stride or old.channels > new.channels:
        raise UsageError(
            f"start_from: model '{name}' has stride {old.stride} and {old.channels} channels; the recipe's stride must "
            f"be the same and its channels, {new.channels}, at least as many"
        )
    for key, value in new.state_dict().items():
        if key.startswith(("encoder.", "decoder.")) and not key.startswith(ends):
            if key not in have or have[key].shape != value.shape:
                raise UsageError(f"start_from: model '{name}' has no tensor {key} of shape {list(value.shape)}")
            value.copy_(have[key])


def _leftover(x: Tensor, rest: Tensor, stride: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Linear model of the residual `rest` of pixels x, both [B, 3, H, W], with `count` channels per block.

    Directions V [n, count] are the leading eigenvectors of the residual's blocks; rows A [count, n] and bias [count]
    estimate V^T residual from the block of pixels itself (damped least squares). Returns V, A, the bias and the
    variance of the estimates [count].
    """
    blocks, left = (F.pixel_unshuffle(t, stride).permute(0, 2, 3, 1).reshape(-1, 3 * stride**2) for t in (x, rest))
    left = left - left.mean(0)
    _, vectors = torch.linalg.eigh((left.T @ left).double())
    basis = vectors.flip(1)[:, :count].float()
    mean = blocks.mean(0)
    centred = (blocks - mean).double()
    covariance = centred.T @ centred
    damping = 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    rows = torch.linalg.solve(covariance + damping, centred.T @ (left @ basis).double()).T.float()
    return basis, rows, -rows @ mean, (centred.float() @ rows.T).square().mean(0)


def _set_encoder(old: Tokenizer, new: Tokenizer, place: Tensor, factor: Tensor, rows: Tensor, bias: Tensor) -> None:
    """Rows of the last layers: channel i moves to place[i], times factor[i]."""
    d = old.channels
    (encoder, _), (known, _) = conv_networks(new), conv_networks(old)
    for ours, theirs in ((encoder.head, known.head), (linear_of(encoder), linear_of(known))):
        weight, shift = torch.zeros_like(ours.weight), ours.weight.new_zeros(len(ours.weight))
        weight[place[:d]] = theirs.weight * factor[:d, None, None, None]
        shift[place[:d]] = bias_of(theirs) * factor[:d]
        if ours is encoder.linear:
            weight[place[d:]] = (rows * factor[d:, None])[:, :, None, None]
            shift[place[d:]] = bias * factor[d:]
        set_layer(ours, weight, shift)


def _set_decoder(old: Tokenizer, new: Tokenizer, place: Tensor, factor: Tensor, basis: Tensor) -> None:
    """Columns of the first layers, the inverse of `_set_encoder`; keep-map columns are shared by channels."""
    d, total = old.channels, new.channels
    groups = (old.quantizer.groups, new.quantizer.groups)
    of_old = torch.arange(groups[0]).repeat_interleave(torch.tensor(_widths(old)))
    of_new = torch.arange(groups[1]).repeat_interleave(torch.tensor(_widths(new)))
    share = torch.zeros(groups)
    for i in range(d):
        share[of_old[i], of_new[place[i]]] += 1 / _widths(old)[int(of_old[i])]
    (_, decoder), (_, known) = conv_networks(new), conv_networks(old)
    for ours, theirs in ((decoder.head, known.head), (linear_of(decoder), linear_of(known))):
        weight = torch.zeros_like(ours.weight)
        weight[:, place[:d]] = theirs.weight[:, :d] / factor[None, :d, None, None]
        weight[:, total:] = torch.einsum("ogyx,gn->onyx", theirs.weight[:, d:], share)
        if ours is decoder.linear:
            weight[:, place[d:]] = (basis / factor[d:])[:, :, None, None]
        set_layer(ours, weight, bias_of(theirs))


def _set_fill(old: Tokenizer, new: Tokenizer, place: Tensor, factor: Tensor) -> None:
    """Fill of missing channels, if both models have one; zero for new channels."""
    ours, theirs = product_of(new), product_of(old)
    if ours.fill is None or theirs.fill is None:
        return
    flat = torch.zeros_like(ours.fill).flatten()
    slots = torch.tensor(ours.slots)[place[: old.channels]]
    flat[slots] = theirs.fill.flatten()[theirs.slots] * factor[: old.channels]
    ours.fill.copy_(flat.reshape(ours.fill.shape))
