"""Further planes for what the codewords of groups leave over: residual product quantization of one latent.

Differs from residual.py, whose stages each see all channels: here every plane refines some channels that lie side by
side, in whatever groups they are. Groups alone end where 256 codewords for many channels are too few; with their
refinements the same network serves several times the bits (residual vector quantization: Juang and Gray 1982).
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn


class Refinements(nn.Module):
    """R codebooks [R, K, w]; plane r has the channels `spans[r]`, and rows are as long as the widest, the rest zero."""

    def __init__(self, widths: tuple[int, ...], codebook_size: int) -> None:
        super().__init__()
        self.widths, self.wide = widths, max(widths)
        self.spans = [slice(a, b) for a, b in pairwise((0, *accumulate(widths)))]
        self.register_buffer("codebooks", torch.zeros(len(widths), codebook_size, self.wide))

    codebooks: Tensor
    """Differences from the codewords of the groups; the first is zero, for what needs none."""

    def split(self, z: Tensor) -> Tensor:
        """z [B, D, h, w] -> rows [R, B*h*w, w]."""
        rows = z.new_zeros(len(self.spans), z.shape[0] * z.shape[2] * z.shape[3], self.wide)
        for r, span in enumerate(self.spans):
            rows[r, :, : self.widths[r]] = z[:, span].permute(0, 2, 3, 1).reshape(-1, self.widths[r])
        return rows

    def dequantize(self, planes: Tensor, channels: int) -> Tensor:
        """Indices [R, B, h, w], below 0 where unknown -> what they add to a latent of D channels [B, D, h, w]."""
        _, batch, h, w = planes.shape
        z = self.codebooks.new_zeros(batch, channels, h, w)
        for plane, book, span in zip(planes, self.codebooks, self.spans, strict=True):
            code = book[plane.clamp_min(0), : span.stop - span.start] * (plane >= 0)[..., None]
            z[:, span] = code.permute(0, 3, 1, 2)
        return z
