"""Residual planes of a product quantizer: residual vector quantization of the groups' error (Juang and Gray 1982).

Each plane quantizes a run of consecutive channels, whatever their groups. With 256 codewords per group the distortion
of wide groups has a floor; residual planes lower it and extend the same network to several times the rate.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn


class Refinements(nn.Module):
    """R codebooks [R, K, w]; plane r has the channels `spans[r]`. Rows are zero-padded to the widest span."""

    def __init__(self, widths: tuple[int, ...], codebook_size: int) -> None:
        super().__init__()
        self.widths, self.wide = widths, max(widths)
        self.spans = [slice(a, b) for a, b in pairwise((0, *accumulate(widths)))]
        self.register_buffer("codebooks", torch.zeros(len(widths), codebook_size, self.wide))

    codebooks: Tensor
    """Residuals of the groups' codewords; the first codeword is zero, for positions that need no correction."""

    def split(self, z: Tensor) -> Tensor:
        """z [B, D, h, w] -> rows [R, B*h*w, w]."""
        rows = z.new_zeros(len(self.spans), z.shape[0] * z.shape[2] * z.shape[3], self.wide)
        for r, span in enumerate(self.spans):
            rows[r, :, : self.widths[r]] = z[:, span].permute(0, 2, 3, 1).reshape(-1, self.widths[r])
        return rows

    def dequantize(self, planes: Tensor, channels: int) -> Tensor:
        """Indices [R, B, h, w], below 0 where unknown -> their contribution to a latent of D channels [B, D, h, w]."""
        _, batch, h, w = planes.shape
        z = self.codebooks.new_zeros(batch, channels, h, w)
        for plane, book, span in zip(planes, self.codebooks, self.spans, strict=True):
            code = book[plane.clamp_min(0), : span.stop - span.start] * (plane >= 0)[..., None]
            z[:, span] = code.permute(0, 3, 1, 2)
        return z
