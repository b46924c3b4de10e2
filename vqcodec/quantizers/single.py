"""Quantizers of one plane, with one codeword per position: the parts of residual, multi-scale and split quantizers."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from ..config.quantizers import CodeConfig, VQConfig
from ..planes import MISSING
from .base import Quantized, Quantizer, assignment_entropy, grid_of, rows_of, unit_length
from .codebook import LEARNING, nearest
from .estimators import by_sample

ENTROPY_TEMPERATURE = 0.01
"""Temperature of the soft assignments in the entropy loss (FQGAN, SoftVQ-VAE)."""


class Code(Quantizer):
    """Rows [N, d] <-> index [N]. `stage`, from 0, is the residual stage that a shared code is used in."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.sizes = config.sizes
        self.dim = config.channels

    def project(self, rows: Tensor) -> Tensor:
        """Rows [N, d] -> rows that are compared with codewords, and that losses and gradient refer to."""
        return rows

    def step(self, stage: int) -> Tensor:
        """Scale of the codewords in `stage`, [d] or [1]."""
        return torch.ones(1)

    @abstractmethod
    def choose(self, rows: Tensor) -> Tensor:
        """Projected rows [N, d] -> index [N] of their codewords."""

    @abstractmethod
    def codewords(self, index: Tensor) -> Tensor:
        """index [N], 0..K-1 -> codewords [N, d], with a gradient if they are learned by gradient."""

    def learn(self, rows: Tensor, index: Tensor) -> None:
        """Training step of codewords learned by moving averages."""

    def entropy(self, rows: Tensor, stage: int = 0) -> Tensor | None:
        """Entropy loss of projected rows [N, d]; None for codes without one."""
        return None

    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None) -> Quantized:
        """z and unit Gaussian noise [B, d, *] -> Quantized with one plane [B, *]; `lmbda` is not used."""
        rows = self.project(rows_of(z))
        with torch.no_grad():
            index = self.choose(rows)
        code = self.codewords(index)
        if self.training:
            self.learn(rows.detach(), index)
        plane = index.reshape(len(z), *z.shape[2:])
        parts = (by_sample(part, len(z)) for part in (rows, code, rows_of(noise)))
        z_q = grid_of(self.estimate(*parts).flatten(0, 1), plane)
        commitment = (rows - code.detach()).square().mean()
        codebook = (rows.detach() - code).square().mean()
        kept = z.new_ones(len(z), 1, *z.shape[2:])
        return Quantized(z_q, [plane], commitment, codebook, self.entropy(rows) if self.wants_entropy else None, kept)

    @override
    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        return super().bypass(grid_of(self.project(rows_of(z)), z[:, 0]), noise)

    @override
    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        return [self.choose(self.project(rows_of(z))).reshape(len(z), *z.shape[2:])]

    @override
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        (plane,) = indices
        kept = (plane != MISSING)[:, None]
        code = grid_of(self.codewords(plane.clamp_min(0).flatten()), plane)
        return code * kept, kept.to(code.dtype)


class VQ(Code):
    """One codebook [1, K, d] in a bank; `learning` is a key of LEARNING, a setting of training.

    With metric "cosine" (VAR, XQ-GAN) directions are compared and the codeword is used as stored; with "unit"
    (LlamaGen, FQGAN) latent and codeword also have length 1 in the losses and for the decoder.
    """

    asked: list[Tensor] | None = None
    """List set by the trainer that collects the rows [N, d] of each selection, for k-means and revival; None: off."""

    def __init__(self, config: VQConfig, learning: str = "ema") -> None:
        super().__init__(config)
        self.bank = LEARNING[learning](1, config.codebook_size, config.dim)
        self.directions, self.unit = config.metric != "euclidean", config.metric == "unit"

    def project(self, rows: Tensor) -> Tensor:
        """Rows [N, d] -> the same, of length 1 for the metric "unit"."""
        return unit_length(rows) if self.unit else rows

    def choose(self, rows: Tensor) -> Tensor:
        """Rows [N, d] -> index int64 [N] of the nearest codeword, or of the nearest in direction."""
        if self.asked is not None:
            self.asked.append(rows.detach())
        books = self.bank.codebooks
        if self.directions:
            rows, books = unit_length(rows), unit_length(books)
        return nearest(rows[None], books)[0]

    @override
    def codewords(self, index: Tensor) -> Tensor:
        code = self.bank.lookup(index[None])[0]
        return unit_length(code) if self.unit else code

    @override
    def learn(self, rows: Tensor, index: Tensor) -> None:
        self.bank.update(rows[None], index[None])

    def entropy(self, rows: Tensor, stage: int = 0) -> Tensor | None:
        """Entropy loss of a softmax of squared distances (FQGAN); keeps N x K floats for the backward pass."""
        books = self.bank.codebooks[0]
        if self.directions:
            rows, books = unit_length(rows), unit_length(books)
        distances = rows.square().sum(1, keepdim=True) + books.square().sum(1) - 2 * rows @ books.T
        return assignment_entropy(-distances / ENTROPY_TEMPERATURE)
