"""Mixtures of codewords: SoftVQ-VAE (Chen et al. 2024) and its GMMVQ, and how a file holds them.

The latent of a token is the mean of all codewords of its segment, weighted by a softmax over their similarity. It is
continuous, so an index cannot express it. A file holds a sum of few codewords that approximates it, coarse to fine:

    layer 1      the most similar codeword, as in the released models; its weight is a constant of the model
    layer m      one more codeword and its weight: a sign and one of 16 magnitudes, a factor of sqrt(2) apart

The m-th codeword is the one with the smallest remaining error (matching pursuit: Mallat and Zhang 1993); a truncated
softmax would take the one with the m-th largest weight. Squared error of the sum, relative to the
mixture's energy, for 1024 codewords of 32 dimensions (benchmarks/soft_terms.py; toy codes trained for 150 steps):

    terms m (10 + 15 (m - 1) raw bits a token)     1       2       3       4       6       8
    truncated softmax                            0.390   0.227   0.151   0.109   0.065   0.043
    truncated softmax, weights scaled to 1       0.373   0.146   0.082   0.053   0.030   0.020
    pursuit, first weight 1                      0.373   0.141   0.064   0.038   0.020   0.012
    pursuit, first weight 0.68, as measured      0.187   0.069   0.034   0.021   0.011   0.007
    cosine of the last                           0.901   0.965   0.982   0.989   0.994   0.996

A mixture is shorter than a codeword. `first_weight` accounts for this and halves the error at no cost in bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.quantizers import WEIGHTS, GMMVQConfig, SoftVQConfig
from ..planes import MISSING
from .base import Quantized, Quantizer, assignment_entropy, grid_of, unit_length
from .codebook import SCORES

MAGNITUDES = WEIGHTS // 2
ENTROPY_TEMPERATURE = 0.01
"""Temperature of the soft assignments in the entropy loss, lower than that of the mixture."""


class SoftVQ(Quantizer):
    """z [B, D, *] <-> planes of its shape: index, then index and weight of every further term.

    Segment k of a token sequence, of `segments` runs of equal length, has `codebooks[k]` [K, D].
    """

    tally: list[float] | None = None
    """Sums of (first codeword . mixture, its squared length) over quantizations; [0, 0] starts them, None: off."""

    def __init__(self, config: SoftVQConfig) -> None:
        super().__init__()
        self.sizes, self.terms = config.sizes, config.terms
        self.segments, self.first_weight = config.segments, config.first_weight
        self.temperature, self.normalised = config.temperature, config.normalised
        start = torch.randn(config.segments, config.codebook_size, config.dim)
        self.codebooks = nn.Parameter(unit_length(start))

    @property
    def codewords(self) -> Tensor:
        """Codewords [segments, K, D], normalised if they are mixed so."""
        return unit_length(self.codebooks) if self.normalised else self.codebooks

    def likeness(self, rows: Tensor, codewords: Tensor) -> Tensor:
        """Similarity of rows [segments, N, D] and codewords [segments, K, D], [segments, N, K]."""
        return rows @ codewords.transpose(1, 2)

    def sharpened(self, rows: Tensor, codewords: Tensor) -> Tensor:
        """Logits of the mixture, [segments, N, K]."""
        return self.likeness(rows, codewords) / self.temperature

    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None) -> Quantized:
        """Return the mixture, which is differentiable; codewords learn through it, without a codebook loss."""
        rows, codewords = self.rows(z), self.codewords
        logits = self.sharpened(rows, codewords.detach())
        mixed = torch.softmax(logits, -1) @ codewords
        plane = self._plane(logits.argmax(-1), z)
        entropy = None
        if self.wants_entropy:
            likeness = self.likeness(rows, codewords.detach())
            entropy = assignment_entropy(likeness.flatten(0, 1) / ENTROPY_TEMPERATURE)
        zero = z.new_zeros(())
        return Quantized(self._grid(mixed, plane), [plane], zero, zero, entropy, z.new_ones(len(z), 1, *z.shape[2:]))

    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        """z [B, D, *] -> planes int64 [B, *]: index, then index and weight of each further term (matching pursuit)."""
        rows, codewords = self.rows(z), self.codewords
        parts = [
            self._pursued(part, codewords) for part in torch.split(rows, max(1, SCORES // codewords[..., 0].numel()), 1)
        ]
        return [self._plane(torch.cat(planes, 1), z) for planes in zip(*parts, strict=True)]

    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the terms; a term counts only if all before it are known. `kept` is the share of the terms."""
        first = indices[0]
        there = first != MISSING
        total = self._codes(first) * (self.first_weight * there[:, None])
        kept = there.float() / self.terms
        for index, weight in zip(indices[1::2], indices[2::2], strict=True):
            there = there & (index != MISSING) & (weight != MISSING)
            total = total + self._codes(index) * (weight_of(weight.clamp_min(0)) * there)[:, None]
            kept = kept + there.float() / self.terms
        return total, kept[:, None]

    def _pursued(self, rows: Tensor, codewords: Tensor) -> list[Tensor]:
        """rows [segments, N, D] -> index and weight of each term [segments, N], the first without a weight."""
        logits = self.sharpened(rows, codewords)
        index = logits.argmax(-1)
        first, rest = _taken(codewords, index), torch.softmax(logits, -1) @ codewords
        if self.tally is not None:
            self.tally[0] += float((first * rest).sum())
            self.tally[1] += float(first.square().sum())
        rest = rest - self.first_weight * first
        lengths = codewords.norm(dim=-1).clamp_min(1e-12)[:, None, :]
        planes = [index]
        for _ in range(1, self.terms):
            index = (rest @ codewords.transpose(1, 2) / lengths).abs().argmax(-1)
            words = _taken(codewords, index)
            weight = nearest_weight((rest * words).sum(-1) / words.square().sum(-1).clamp_min(1e-12))
            rest = rest - weight_of(weight)[..., None] * words
            planes += [index, weight]
        return planes

    def _codes(self, plane: Tensor) -> Tensor:
        """Plane [B, *], MISSING taken for 0 -> codewords [B, D, *]."""
        index = plane.clamp_min(0).flatten(1)
        split = index.reshape(len(index), self.segments, -1).transpose(0, 1).reshape(self.segments, -1)
        return self._grid(_taken(self.codewords, split), plane)

    def rows(self, z: Tensor) -> Tensor:
        """[B, D, *] -> [segments, B*l, D]."""
        rows = z.flatten(2).transpose(1, 2)
        rows = unit_length(rows) if self.normalised else rows
        split = rows.reshape(len(z), self.segments, -1, z.shape[1])
        return split.transpose(0, 1).reshape(self.segments, -1, z.shape[1])

    def _grid(self, rows: Tensor, plane: Tensor) -> Tensor:
        """The inverse of `rows`, for planes [B, *]."""
        split = rows.reshape(self.segments, len(plane), -1, rows.shape[-1]).transpose(0, 1)
        return grid_of(split.reshape(-1, rows.shape[-1]), plane)

    def _plane(self, values: Tensor, z: Tensor) -> Tensor:
        """[segments, B*l] -> [B, *]."""
        return values.reshape(self.segments, len(z), -1).transpose(0, 1).reshape(len(z), *z.shape[2:])


@torch.no_grad()
def measured_weight(quantizer: Quantizer, latents: Iterable[Tensor]) -> float:
    """`first_weight` of least squared error on `latents`, [B, D, *] each, one for all mixtures of `quantizer`.

    0.01..1, rounded to hundredths, so that it does not depend on the rounding of a machine.
    """
    mixtures = [module for module in quantizer.modules() if isinstance(module, SoftVQ)]
    for module in mixtures:
        module.tally = [0.0, 0.0]
    for z in latents:
        quantizer.quantize(z)
    found = [sum(sums) for sums in zip(*(module.tally or (0.0, 0.0) for module in mixtures), strict=True)]
    for module in mixtures:
        module.tally = None
    return min(max(round(found[0] / max(found[1], 1e-12), 2), 0.01), 1.0)


class GMMVQ(SoftVQ):
    """Mixture with weights softmax(-omega(z) |z - C|), with the sharpness omega from a linear layer on the latent."""

    def __init__(self, config: GMMVQConfig) -> None:
        super().__init__(config)
        self.sharpness = nn.Linear(config.dim, 1)
        # Start: the sharpness of a constant temperature, for every latent.
        nn.init.zeros_(self.sharpness.weight)
        nn.init.constant_(self.sharpness.bias, 1 / config.temperature)

    def likeness(self, rows: Tensor, codewords: Tensor) -> Tensor:
        """Rows [segments, N, D], codewords [segments, K, D] -> negative distances [segments, N, K]."""
        return -torch.cdist(rows, codewords)

    def sharpened(self, rows: Tensor, codewords: Tensor) -> Tensor:
        """Logits of the mixture [segments, N, K]: likeness times the sharpness of each row, above 0."""
        return F.softplus(self.sharpness(rows)) * self.likeness(rows, codewords)


def nearest_weight(values: Tensor) -> Tensor:
    """Real weights -> symbols int64 0..31: the sign, and the magnitude that is nearest in the logarithm."""
    steps = (-2 * values.abs().clamp_min(1e-12).log2()).round().long().clamp(0, MAGNITUDES - 1)
    return steps + MAGNITUDES * (values < 0)


def weight_of(symbols: Tensor) -> Tensor:
    """Symbols 0..31 -> weights 2^(-k/2) with k = symbol mod 16, negative from 16 on."""
    return torch.exp2(-(symbols % MAGNITUDES) / 2) * (1 - 2 * (symbols // MAGNITUDES))


def _taken(codewords: Tensor, index: Tensor) -> Tensor:
    """codewords [segments, K, D], index [segments, N] -> [segments, N, D]."""
    return codewords.gather(1, index[..., None].expand(-1, -1, codewords.shape[-1]))
