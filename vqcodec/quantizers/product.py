"""Product quantization with a fill: the latent channels in G groups with a codebook each.

MGVQ (section 3) has sub-codebooks, codewords of unit length, and nested masking with zeros. The learned fill of missing
groups, the rate term and the residual planes are additions of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..config.quantizers import ProductVQConfig
from ..planes import MISSING
from .base import Quantized, Quantizer
from .codebook import LEARNING, nearest
from .estimators import Estimator, by_sample, straight_through
from .product_arrays import ProductArrays
from .residual_planes import Refinements

Choose = Callable[[Tensor, Tensor | None], list[Tensor]]
"""Index selection that replaces the nearest codewords: (z [B, D, h, w], rates [B] or None) -> planes [B, h, w]."""

NO_CAP = 1e4
"""Cap above every multiplier in use: no cap."""
BYPASS_NOISE = 0.1
"""Standard deviation of the noise that replaces the quantization error until the codebooks start."""


class Placed(NamedTuple):
    """Layout of the groups, as tensors on a device."""

    slots: Tensor
    """Position of each channel when all groups are padded to the widest, [D]."""
    widths: Tensor
    """Channels of each group, float32 [G, 1]."""


def as_they_are(rows: Tensor) -> Tensor:
    """Rows [..., d], unchanged."""
    return rows


def unit_length(rows: Tensor) -> Tensor:
    """Rows [..., d] -> the same directions, length 1."""
    return F.normalize(rows, dim=-1)


def _array(values: Tensor) -> np.ndarray:
    copied: np.ndarray = values.detach().float().cpu().numpy().copy()
    return copied


class ProductVQ(Quantizer):
    """Quantizer of z [B, D, h, w] into S planes [B, h, w] of K codewords each: G groups, then R refinements.

    Group g has d_g channels, D in all. Rows and codewords are zero-padded to d = max d_g. Refinements are residual
    planes; they are not trained but fitted to a finished encoder (train/quantization/refit_codebooks.py).

    `learning` (a key of LEARNING), `estimate`, `choose` and `only_kept` are settings of training, not of the model.
    """

    fill: nn.Parameter | None
    """Replacement of a group that is not kept [G, d]; None: zeros."""

    def __init__(self, config: ProductVQConfig, learning: str = "ema") -> None:
        super().__init__()
        self.config = config
        self.groups, self.widths = config.groups, config.widths
        self.dim = max(self.widths)
        self.sizes = config.sizes
        self.bank = LEARNING[learning](self.groups, config.codebook_size, self.dim)
        self.project: Callable[[Tensor], Tensor] = unit_length if config.normalised else as_they_are
        self.estimate: Estimator = straight_through
        self.choose: Choose | None = None
        self.refinements = Refinements(config.refinements, config.codebook_size) if config.refinements else None
        self.register_buffer("bit_costs", torch.zeros(len(self.sizes), config.codebook_size))
        self.register_buffer("lambda_caps", torch.full((len(self.sizes),), NO_CAP))
        self.register_buffer("lambda_weights", torch.zeros(len(self.sizes)))
        self.ragged = min(self.widths) < self.dim
        self.slots = [g * self.dim + i for g, width in enumerate(self.widths) for i in range(width)]
        self._placed: dict[torch.device, Placed] = {}
        fill = nn.Parameter(torch.zeros(self.groups, self.dim)) if config.fill == "learned" else None
        self.register_parameter("fill", fill)

    bit_costs: Tensor
    """Cost of each codeword [S, K], a squared distance: -log2 of its share of use, times `lambda_weights`. Selection
    minimises squared distance + lmbda * cost. Zero in models trained without a rate term."""
    lambda_weights: Tensor
    """Weight of one bit in each plane [S] at lmbda 1, as a squared error of the latent."""
    lambda_caps: Tensor
    """Largest multiplier that applies to each plane [S]. In smooth areas an error in the mean of a block is a visible
    step, and its true cost in bits, with the neighbours known, is far below `bit_costs`."""

    @property
    def has_rate_term(self) -> bool:
        """True if any codeword costs bits: the model was trained with a rate term."""
        return bool(self.bit_costs.any())

    @property
    def codebooks(self) -> Tensor:
        """Codewords [G, K, d] as compared and returned: of unit length if normalised."""
        return self.project(self.bank.codebooks)

    only_kept: bool = False
    """Exclude masked positions from both losses and from the bank's averages (MGVQ's release)."""

    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None, kept: Tensor | None = None) -> Quantized:
        """Quantize in training; `kept` [B, G, h, w] of 0 and 1 marks positions that count in losses and averages."""
        rows = self.rows(z)
        counted = None if kept is None else kept.transpose(0, 1).flatten(1)
        with torch.no_grad():
            planes = self.choose(z, lmbda) if self.choose is not None else self.nearest_planes(z, lmbda)
            index = torch.stack([plane.flatten() for plane in planes[: self.groups]])
            spread = self._spread()
        code = self.project(self.bank.lookup(index))
        if self.refinements is not None:
            code = code + self._split(self._refined(planes))
        if self.training:
            self.bank.update(rows.detach(), index, counted)
        commitment = self._mean((rows - code.detach()).square() / spread, counted)
        codebook = self._mean((rows.detach() - code).square() / spread, counted)
        parts = (by_sample(part, len(z)) for part in (rows, code, self._split(noise)))
        z_q = self._grid(self.estimate(*parts).flatten(1, 2), z)
        return Quantized(z_q, planes, commitment, codebook)

    @override
    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        rows = self.rows(z)
        z_q = self._grid(rows + BYPASS_NOISE * self._split(noise), z)
        return Quantized(z_q, [], z.square().mean(), z.new_zeros(()))

    @override
    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        return self.nearest_planes(z, self.bit_costs.new_tensor([lmbda]))

    def nearest_planes(self, z: Tensor, lmbda: Tensor | None) -> list[Tensor]:
        """Planes [B, h, w] that minimise squared distance + lmbda * cost, each index by itself; `lmbda` [B] or [1]."""
        costs, weight = self.bit_costs, None
        if lmbda is not None and len(lmbda) == 1:
            costs = costs * self._capped(lmbda)
        elif lmbda is not None:
            weight = self._capped(lmbda.repeat_interleave(z.shape[2] * z.shape[3]))
        g = self.groups
        index = nearest(self.rows(z), self.codebooks, costs[:g], None if weight is None else weight[:g])
        planes = self._planes(index, z)
        if self.refinements is None:
            return planes
        scale = self.importance().sqrt()[None, :, None, None]
        rows = self.refinements.split((z - self._code(torch.stack(planes))) * scale)
        books = self.refinements.codebooks * self.refinements.split(scale)
        index = nearest(rows, books, costs[g:], None if weight is None else weight[g:])
        return planes + self._planes(index, z)

    def arrays(self) -> ProductArrays:
        """Codebooks and rate term as arrays, copied."""
        residual: Iterable[Tensor] = () if self.refinements is None else self.refinements.codebooks
        fill = self.bit_costs.new_zeros(self.groups, self.dim) if self.fill is None else self.fill
        return ProductArrays(
            self.config,
            [_array(book[:, :width]) for book, width in zip(self.codebooks, self.widths, strict=True)],
            [_array(book[:, :width]) for book, width in zip(residual, self.config.refinements, strict=True)],
            np.concatenate([_array(row[:width]) for row, width in zip(fill, self.widths, strict=True)]),
            _array(self.bit_costs),
            _array(self.lambda_weights).astype(np.float64),
            _array(self.lambda_caps).astype(np.float64),
        )

    def importance(self) -> Tensor:
        """Weight of a squared error in each channel [D], of mean 1, in the selection of refinements.

        Proportional to the error that it causes in the pixels, which is 1 / lambda weight of the channel's group. The
        lambda weights of refinements are in units of these weighted distances.
        """
        prices = self.lambda_weights[: self.groups]
        if not prices.any():
            return self.lambda_weights.new_ones(sum(self.widths))
        shown = (1 / prices).repeat_interleave(self._on(prices.device).widths[:, 0].long())
        return shown / shown.mean()

    def _capped(self, lmbda: Tensor) -> Tensor:
        """Rates [N] -> rates [S, N], limited by `lambda_caps`."""
        return torch.minimum(lmbda[None, :], self.lambda_caps[:, None])

    def _refined(self, planes: list[Tensor]) -> Tensor:
        """Contribution of the refinements among all planes [B, h, w]; zero where their group is missing."""
        assert self.refinements is not None
        kept = torch.stack([plane >= 0 for plane in planes[: self.groups]], 1).float()
        added = self.refinements.dequantize(torch.stack(planes[self.groups :]), sum(self.widths))
        return added * self._cut(kept.repeat_interleave(self.dim, dim=1))

    @override
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        stacked = torch.stack(indices[: self.groups])  # [G, B, h, w]
        z_q = self._code(stacked)
        if self.refinements is not None:
            z_q = z_q + self._refined(indices)
        kept = (stacked != MISSING).transpose(0, 1).to(z_q.dtype)
        return self.mask(z_q, kept), kept

    def _code(self, stacked: Tensor) -> Tensor:
        """Indices of the groups [G, B, h, w] -> codewords [B, D, h, w]; undefined where an index is missing."""
        groups, batch, h, w = stacked.shape
        code = self.project(self.bank.lookup(stacked.clamp_min(0).reshape(groups, -1)))
        return self._cut(code.reshape(groups, batch, h, w, self.dim).permute(1, 0, 4, 2, 3).flatten(1, 2))

    def mask(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w], kept [B, G, h, w] of 0 and 1 -> z_q with the fill where a group is not kept."""
        full = self._cut(kept.repeat_interleave(self.dim, dim=1))
        if self.fill is None:
            return z_q * full
        return z_q * full + self._cut(self.fill.to(z_q.dtype).reshape(1, -1, 1, 1)) * (1 - full)

    def rows(self, z: Tensor) -> Tensor:
        """z [B, D, h, w] -> rows [G, B*h*w, d], which are compared with the codewords."""
        return self.project(self._split(z))

    def _spread(self) -> Tensor:
        """Mean square of the rows' entries [G, 1, 1]; 1 where their length is fixed.

        The losses are divided by it, so that they do not depend on the scale of z. It is taken from the moving
        averages, which are the same in all processes, and not from the batch.
        """
        if self.project is unit_length:
            return self.bit_costs.new_ones(self.groups, 1, 1)
        return (self.bank.energy[:, None] / self._on(self.bit_costs.device).widths).clamp_min(1e-8)[:, :, None]

    def _mean(self, squares: Tensor, counted: Tensor | None = None) -> Tensor:
        """Mean over groups of the mean over their channels; squares [G, N, d].

        Rows that are not `counted` [G, N] are zeros in the mean, so that all parts of a batch have the same weight.
        """
        means = squares.sum(2) / self._on(squares.device).widths
        return means.mean() if counted is None else (means * counted).mean()

    def _on(self, device: torch.device) -> Placed:
        """Layout on a device, copied once: a copy in each step would make a GPU wait."""
        if device not in self._placed:
            with torch.inference_mode(False):
                widths = torch.tensor(self.widths, dtype=torch.float32, device=device)
                self._placed[device] = Placed(torch.tensor(self.slots, device=device), widths[:, None])
        return self._placed[device]

    def _split(self, z: Tensor) -> Tensor:
        """[B, D, h, w] -> [G, B*h*w, d]."""
        batch, _, h, w = z.shape
        if self.ragged:
            wide = z.new_zeros(batch, self.groups * self.dim, h, w)
            z = wide.index_copy(1, self._on(z.device).slots, z)
        split = z.reshape(batch, self.groups, self.dim, h, w)
        return split.permute(1, 0, 3, 4, 2).reshape(self.groups, -1, self.dim)

    def _grid(self, rows: Tensor, like: Tensor) -> Tensor:
        """[G, B*h*w, d] -> [B, D, h, w], the inverse of _split."""
        batch, _, h, w = like.shape
        return self._cut(rows.reshape(self.groups, batch, h, w, self.dim).permute(1, 0, 4, 2, 3).flatten(1, 2))

    def _cut(self, wide: Tensor) -> Tensor:
        """[B, G*d, h, w] -> [B, D, h, w]: padding removed."""
        return wide.index_select(1, self._on(wide.device).slots) if self.ragged else wide

    @staticmethod
    def _planes(index: Tensor, like: Tensor) -> list[Tensor]:
        batch, _, h, w = like.shape
        return list(index.reshape(-1, batch, h, w))
