"""What every quantizer answers: forward and bypass for training, quantize and dequantize for the codec.

Legend: B batch, D latent channels, h w token grid, L tokens of a sequence, K codewords, d codeword dimension, G groups,
S planes; * stands for h, w or for L.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .estimators import Estimator, straight_through

BYPASS_NOISE = 0.1
"""Standard deviation of what stands for the quantization error before there are codebooks."""


class Quantized(NamedTuple):
    """Result of a training step through a quantizer. All losses are means over samples."""

    z_q: Tensor
    """[B, D, *], the codewords or what stands for them in training, with a gradient towards z."""
    indices: list[Tensor]
    """One plane of int64 for each sub-codebook."""
    commitment: Tensor
    """Scalar: how far z is from its codewords, with a gradient towards z."""
    codebook: Tensor
    """Scalar: the same distance, with a gradient towards codewords that are learned by gradient."""
    entropy: Tensor | None = None
    """Scalar, nats: entropy of the soft choice of a codeword minus that of its mean; None where there is no such."""
    kept: Tensor | None = None
    """[B, G, *] of 0..1 where the quantizer itself has left out stages; None leaves that to the caller's mask."""


class Quantizer(nn.Module):
    """Map between a latent and its index planes, coarse to fine.

    Encoder, trainer and inference use what is declared here. What only a product quantizer or a uniform quantizer has
    is reached through `Tokenizer.product_vq` and `Tokenizer.uniform`.
    """

    sizes: tuple[int, ...]
    """Alphabet size of each plane."""
    groups: int = 1
    """Number of groups of latent channels, G."""
    widths: tuple[int, ...] = ()
    """Channels of each group, where the groups are runs of channels; otherwise empty."""
    estimate: Estimator = staticmethod(straight_through)
    """How the gradient passes the choice of codewords, a setting of training."""
    wants_entropy: bool = False
    """Whether training computes the entropy loss, which may take much memory; see `want_entropy`."""

    @abstractmethod
    def forward(self, z: Tensor, noise: Tensor, rate: Tensor | None = None) -> Quantized:
        """z and unit Gaussian noise [B, D, *] -> Quantized; `rate` [B] weighs bits against distance, default 1."""

    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        """Like `forward`, for the steps before the codebooks have been started: noise instead, no indices."""
        return Quantized(z + BYPASS_NOISE * noise, [], z.square().mean(), z.new_zeros(()))

    @property
    def has_rate_term(self) -> bool:
        """True if codewords have costs in bits, so that `rate` changes which are selected."""
        return False

    def want_entropy(self) -> None:
        """Compute the entropy loss in training, here and in all parts."""
        for module in self.modules():
            if isinstance(module, Quantizer):
                module.wants_entropy = True

    @abstractmethod
    def quantize(self, z: Tensor, rate: float = 1.0) -> list[Tensor]:
        """z [B, D, *] -> planes int64, entries 0..K-1.

        `rate` says how much the cost of a codeword counts, 0 for the nearest one; 1 is what training had in mind. It
        has no effect on quantizers that know no rate.
        """

    @abstractmethod
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Planes, MISSING where unknown -> z_q [B, D, *] with its fill, kept [B, G, *] in 0..1.

        `kept` is the share of each group's planes that is there. The only path decoding takes.
        """

    def mask(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, *], kept [B, G, *] -> z_q with the fill where a group is not kept: zero."""
        return z_q * kept.repeat_interleave(z_q.shape[1] // kept.shape[1], 1)


def rows_of(z: Tensor) -> Tensor:
    """[B, d, *] -> [N, d], position by position."""
    return z.flatten(2).transpose(1, 2).reshape(-1, z.shape[1])


def grid_of(rows: Tensor, plane: Tensor) -> Tensor:
    """[N, d] for the positions of plane [B, *] -> [B, d, *]."""
    batch, *grid = plane.shape
    return rows.reshape(batch, -1, rows.shape[-1]).transpose(1, 2).reshape(batch, -1, *grid)


def unit_length(rows: Tensor) -> Tensor:
    """Rows [..., d] -> the same directions, length 1."""
    return F.normalize(rows, dim=-1)


def entropy_of(p: Tensor) -> Tensor:
    """Of distributions p [..., K], in nats."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


def assignment_entropy(logits: Tensor) -> Tensor:
    """logits [N, K] -> mean entropy of their softmax minus the entropy of its mean: low if choices are sure but even.

    Yu et al. 2024 (MAGVIT-v2), equation 5.
    """
    p = torch.softmax(logits, -1)
    # Through the logarithm of the softmax, which is exact where a probability is all but zero.
    each = -(p * torch.log_softmax(logits, -1)).sum(-1)
    return each.mean() - entropy_of(p.mean(0))
