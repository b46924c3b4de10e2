"""The Karhunen-Loeve transform of the training pictures, as the start of a backbone's linear path.

A network that starts from random weights spends thousands of steps on finding out what a block transform knows. With
this start, step 0 is a transform codec with vector quantization, and what training adds comes on top.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.crops import Crops
from ..run import TokenizerRun

CROPS = 1280
DAMPING = 0.5
"""Power of a crop's contrast by which it counts less: what is reported is the mean PSNR of pictures, not of errors."""
NETWORK_SCALE = 0.1
"""What the networks beside the linear path begin with."""


@torch.no_grad()
def start_from_klt(run: TokenizerRun, crops: Crops) -> None:
    """Set the linear paths of encoder and decoder: the leading eigenvectors of stride x stride blocks, in order.

    Groups are scaled to unit variance each, not their channels: within a group, distances remain those of pixels.
    """
    model = run.model
    batches = [crops.batch(i) for i in range(max(1, CROPS // crops.data.batch))]
    mean, basis, variances = klt(torch.cat(batches).float() / 127.5 - 1, model.stride)
    widths = list(model.quantizer.widths)
    basis, variances = basis[:, : sum(widths)], variances[: sum(widths)]
    scale = torch.cat([part.mean().clamp_min(1e-8).sqrt().expand(len(part)) for part in variances.split(widths)])
    model.encoder.linear.weight.copy_((basis / scale).T[:, :, None, None])
    model.encoder.linear.bias.copy_(-(mean @ basis) / scale)
    model.decoder.linear.weight.zero_()
    model.decoder.linear.weight[:, : len(scale)] = (basis * scale)[:, :, None, None]
    model.decoder.linear.bias.copy_(mean)
    for layer in (model.encoder.head, model.decoder.tail):
        layer.weight.mul_(NETWORK_SCALE)
        layer.bias.zero_()
    for name, value in model.named_parameters():
        run.ema[name].copy_(value)


def klt(x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels x [B, 3, H, W] -> mean [n], eigenvectors [n, n] in columns, variances [n], n = 3 * stride^2, falling.

    Blocks are laid out as pixel-unshuffle lays them. Crops count by their contrast to the power 1 - DAMPING.
    """
    blocks = F.pixel_unshuffle(x, stride).permute(0, 2, 3, 1).flatten(1, 2)  # [B, N, n]
    mean = blocks.mean((0, 1))
    contrast = blocks.var(1).mean(1).sqrt().clamp_min(0.02)
    rows = ((blocks - mean) / contrast[:, None, None] ** DAMPING).flatten(0, 1).double()
    variances, basis = torch.linalg.eigh(rows.T @ rows / len(rows))
    return mean, basis.flip(1).float(), variances.flip(0).float()
