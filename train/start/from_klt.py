"""Start of a backbone's linear path: the Karhunen-Loeve transform (KLT) of the training pictures.

A network that starts from random weights needs thousands of steps to learn a block transform. With this start the
tokenizer at step 0 is a transform codec with vector quantization: for a block x of stride x stride pixels, 3 channels,
with mean m and covariance C = V diag(v) V^T (v falling),

    z = S^-1 V_D^T (x - m)        x' = V_D S z + m

V_D are the first D eigenvectors and S scales every group of channels to unit mean variance.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vqcodec.tokenizer import Tokenizer, to_unit

from ..conv_layers import conv_networks, linear_of, set_layer, shrink
from ..data.crops import Crops

CROPS = 1280
"""Training crops that are measured."""
DAMPING = 0.5
"""Exponent d: a crop of contrast s counts with s^(1 - d), since the reported PSNR is a mean over pictures."""


@torch.no_grad()
def start_from_klt(tokenizer: Tokenizer, crops: Crops) -> None:
    """Set the linear paths of encoder and decoder to the leading eigenvectors of stride x stride blocks, in order.

    Whole groups are scaled to unit variance, not single channels: within a group, distances remain those of pixels.
    """
    batches = [crops.batch(i) for i in range(max(1, CROPS // crops.data.batch))]
    mean, basis, variances = klt(to_unit(torch.cat(batches)), tokenizer.stride)
    widths = list(tokenizer.quantizer.widths)
    basis, variances = basis[:, : sum(widths)], variances[: sum(widths)]
    scale = torch.cat([part.mean().clamp_min(1e-8).sqrt().expand(len(part)) for part in variances.split(widths)])
    encoder, decoder = conv_networks(tokenizer)
    set_layer(encoder.linear, (basis / scale).T[:, :, None, None], -(mean @ basis) / scale)
    columns = torch.zeros_like(linear_of(decoder).weight)
    columns[:, : len(scale)] = (basis * scale)[:, :, None, None]
    set_layer(decoder.linear, columns, mean)
    for layer in (encoder.head, decoder.tail):
        shrink(layer)


def klt(x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels x [B, 3, H, W] -> mean [n], eigenvectors [n, n] in columns and falling variances [n], n = 3 * stride^2.

    Blocks have the layout of pixel_unshuffle; crops count with their contrast to the power 1 - DAMPING.
    """
    blocks = F.pixel_unshuffle(x, stride).permute(0, 2, 3, 1).flatten(1, 2)  # [B, N, n]
    mean = blocks.mean((0, 1))
    contrast = blocks.var(1).mean(1).sqrt().clamp_min(0.02)
    rows = ((blocks - mean) / contrast[:, None, None] ** DAMPING).flatten(0, 1).double()
    variances, basis = torch.linalg.eigh(rows.T @ rows / len(rows))
    return mean, basis.flip(1).float(), variances.flip(0).float()
