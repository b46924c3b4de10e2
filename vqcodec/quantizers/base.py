"""Quantizer interface: forward and bypass for training, quantize and dequantize for the codec.

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
"""Standard deviation of the noise that replaces the quantization error until the codebooks start."""


class Quantized(NamedTuple):
    """Result of a training step through a quantizer. All losses are means over samples."""

    z_q: Tensor
    """Quantized latent [B, D, *], or its replacement in training by `estimate`, with a gradient towards z."""
    indices: list[Tensor]
    """Index planes int64, one per sub-token."""
    commitment: Tensor
    """Scalar: distance of z from its codewords, with a gradient towards z."""
    codebook: Tensor
    """Scalar: the same distance, with a gradient towards the codewords if they are learned by gradient."""
    entropy: Tensor | None = None
    """Scalar, nats: mean entropy of the soft assignments minus the entropy of their mean; None if not computed."""
    kept: Tensor | None = None
    """Share of the planes kept [B, G, *], 0..1, if the quantizer drops stages itself; None: the caller masks."""


class Quantizer(nn.Module):
    """Map between a latent and its index planes, coarse to fine.

    `lmbda` is the Lagrangian multiplier in squared distance + lmbda * bits, relative to that of training.

    Encoder, trainer and inference use what is declared here. Members of the product quantizer or the uniform quantizer
    alone are reached through `Tokenizer.product_vq` and `Tokenizer.uniform`.
    """

    sizes: tuple[int, ...]
    """Alphabet size of each plane."""
    groups: int = 1
    """Number of groups of latent channels, G."""
    widths: tuple[int, ...] = ()
    """Channels of each group, where the groups are runs of channels; otherwise empty."""
    estimate: Estimator = staticmethod(straight_through)
    """Gradient estimator, a setting of training."""
    wants_entropy: bool = False
    """True if training computes the entropy loss, which can take much memory; see `want_entropy`."""

    @abstractmethod
    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None) -> Quantized:
        """Quantize in training: z and unit Gaussian noise [B, D, *]; `lmbda` [B], default 1."""

    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        """Replace quantization by noise, for the steps before the codebooks start; no indices."""
        return Quantized(z + BYPASS_NOISE * noise, [], z.square().mean(), z.new_zeros(()))

    @property
    def has_rate_term(self) -> bool:
        """True if codewords have costs in bits, so that `lmbda` changes which are selected."""
        return False

    def want_entropy(self) -> None:
        """Compute the entropy loss in training, here and in all parts."""
        for module in self.modules():
            if isinstance(module, Quantizer):
                module.wants_entropy = True

    @abstractmethod
    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        """z [B, D, *] -> planes int64, entries 0..K-1.

        With multiplier `lmbda` 0 the nearest codeword is selected; 1 is the multiplier of training. Quantizers
        without a rate term ignore it; for a uniform quantizer the argument is a step number.
        """

    @abstractmethod
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Planes, MISSING where unknown -> z_q [B, D, *] with its fill, kept [B, G, *] in 0..1.

        `kept` is the share of each group's planes that is known. Decoding uses this method only.
        """

    def mask(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, *], kept [B, G, *] -> z_q with the fill, zero, where a group is not kept."""
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
    """Entropy of distributions p [..., K], in nats [...]."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


def assignment_entropy(logits: Tensor) -> Tensor:
    """logits [N, K] -> mean entropy of their softmax minus the entropy of the mean softmax, nats.

    Low if single assignments are certain and all codewords are used alike. Yu et al. 2024 (MAGVIT-v2), equation 5.
    """
    p = torch.softmax(logits, -1)
    # log_softmax is exact where a probability is close to zero.
    each = -(p * torch.log_softmax(logits, -1)).sum(-1)
    return each.mean() - entropy_of(p.mean(0))
