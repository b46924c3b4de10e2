"""Multi-group product quantization with learned fill: the latent channels in G groups, a codebook each.

Differs from vq.py: this is the quantizer, that is one bank of codebooks. MGVQ (section 3): sub-codebooks and nested
masking; the learned fill for groups that are not kept, and the keep map the decoder sees, are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import MISSING, ProductVQConfig
from .base import Quantized, Quantizer
from .estimators import Estimator, straight_through
from .vq import CodebookBank, nearest


class ProductVQ(Quantizer):
    """z [B, G*d, h, w] <-> G planes [B, h, w] over K codewords each."""

    def __init__(self, config: ProductVQConfig) -> None:
        super().__init__()
        self.groups, self.dim = config.groups, config.dim
        self.sizes = (config.codebook_size,) * config.groups
        self.bank = CodebookBank(config.groups, config.codebook_size, config.dim)
        self.estimate: Estimator = straight_through
        self.fill = nn.Parameter(torch.zeros(config.groups, config.dim))

    def forward(self, z: Tensor) -> Quantized:
        rows = self._rows(z)
        with torch.no_grad():
            index = nearest(rows, self.bank.codebooks)
            code = self.bank.lookup(index)
        if self.training:
            self.bank.update(rows.detach(), index)
        # Relative to the spread of the codewords, so that the term does not depend on the scale of z.
        spread = code.square().mean((1, 2), keepdim=True).clamp_min(1e-8)
        loss = ((rows - code).square() / spread).mean()
        return Quantized(self._grid(self.estimate(rows, code), z), self._planes(index, z), loss)

    def quantize(self, z: Tensor) -> list[Tensor]:
        return self._planes(nearest(self._rows(z), self.bank.codebooks), z)

    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        stacked = torch.stack(indices)  # [G, B, h, w]
        groups, batch, h, w = stacked.shape
        code = self.bank.lookup(stacked.clamp_min(0).reshape(groups, -1))
        z_q = code.reshape(groups, batch, h, w, self.dim).permute(1, 0, 4, 2, 3).reshape(batch, -1, h, w)
        kept = (stacked != MISSING).transpose(0, 1).to(z_q.dtype)
        return self.mask(z_q, kept), kept

    def mask(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, G*d, h, w], kept [B, G, h, w] of 0 and 1 -> z_q with the fill where a group is not kept."""
        full = kept.repeat_interleave(self.dim, dim=1)
        return z_q * full + self.fill.to(z_q.dtype).reshape(1, -1, 1, 1) * (1 - full)

    def _rows(self, z: Tensor) -> Tensor:
        """[B, G*d, h, w] -> [G, B*h*w, d]."""
        batch, _, h, w = z.shape
        split = z.reshape(batch, self.groups, self.dim, h, w)
        return split.permute(1, 0, 3, 4, 2).reshape(self.groups, -1, self.dim)

    def _grid(self, rows: Tensor, like: Tensor) -> Tensor:
        """[G, B*h*w, d] -> [B, G*d, h, w], the inverse of _rows."""
        batch, _, h, w = like.shape
        return rows.reshape(self.groups, batch, h, w, self.dim).permute(1, 0, 4, 2, 3).reshape(batch, -1, h, w)

    @staticmethod
    def _planes(index: Tensor, like: Tensor) -> list[Tensor]:
        batch, _, h, w = like.shape
        return list(index.reshape(-1, batch, h, w))
