"""Equal parts of the channels or of the tokens, each with a quantizer of its own (product quantization).

Any quantizer can be a part. There is no rate term and no learned fill; product.py has both.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..config.quantizers import SplitConfig
from .base import Quantized, Quantizer
from .residual import Residual


class Split(Quantizer):
    """z [B, D, *] <-> the planes of all parts, layer by layer.

    Parts of tokens are runs of equal length, row by row, and their planes are sequences. The shape of the latent cannot
    be derived from them; `window_grid` holds it.
    """

    def __init__(self, config: SplitConfig, make: Callable[[], Quantizer]) -> None:
        super().__init__()
        self.sizes, self.groups, self.order = config.sizes, config.groups, config.order
        self.over_tokens = config.over == "tokens"
        self.parts = nn.ModuleList(make() for _ in range(config.parts))
        self.window_grid: tuple[int, ...] | None = None
        """Shape of a latent grid that is split into runs of tokens; None for a sequence."""

    def forward(self, z: Tensor, noise: Tensor, lmbda: Tensor | None = None) -> Quantized:
        """z and unit Gaussian noise [B, D, *] -> Quantized with the planes of all parts; losses are means of theirs."""
        cut_noise = self._cut(noise)
        shared = self._shared_dropout(cut_noise[0])
        found = [part(x, n, lmbda, **shared) for part, x, n in zip(self.parts, self._cut(z), cut_noise, strict=True)]
        entropies = [each.entropy for each in found if each.entropy is not None]
        return Quantized(
            self._join([each.z_q for each in found], z.shape[2:]),
            # In training mixtures return the plane of the most similar codeword only.
            [found[p].indices[s] for p, s in self.order if s < len(found[p].indices)],
            torch.stack([each.commitment for each in found]).mean(),
            torch.stack([each.codebook for each in found]).mean(),
            torch.stack(entropies).mean() if entropies else None,
            self._join([each.kept for each in found], z.shape[2:]),
        )

    @override
    def bypass(self, z: Tensor, noise: Tensor) -> Quantized:
        found = [part.bypass(x, n) for part, x, n in zip(self.parts, self._cut(z), self._cut(noise), strict=True)]  # type: ignore[operator]
        commitment = torch.stack([each.commitment for each in found]).mean()
        return Quantized(self._join([each.z_q for each in found], z.shape[2:]), [], commitment, z.new_zeros(()))

    @override
    def quantize(self, z: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        found = [part.quantize(x, lmbda) for part, x in zip(self.parts, self._cut(z), strict=True)]  # type: ignore[operator]
        return [found[p][s] for p, s in self.order]

    @override
    def dequantize(self, indices: list[Tensor]) -> tuple[Tensor, Tensor]:
        planes: list[list[Tensor]] = [[] for _ in self.parts]
        for (p, _), plane in zip(self.order, indices, strict=True):
            planes[p].append(plane)
        found = [part.dequantize(given) for part, given in zip(self.parts, planes, strict=True)]  # type: ignore[operator]
        grid = found[0][0].shape[2:]
        if self.over_tokens:
            grid = torch.Size(self.window_grid or (len(found) * math.prod(grid),))
        return self._join([z for z, _ in found], grid), self._join([kept for _, kept in found], grid)

    def _shared_dropout(self, noise: Tensor) -> dict[str, Tensor]:
        """Noise of the first part -> the argument `stages_kept` [B] of residual parts, none for others.

        All parts of a sample keep the same number of stages (XQ-GAN, section 7.1).
        """
        first = self.parts[0]
        return {"stages_kept": first.draw_stages(noise)} if isinstance(first, Residual) else {}

    def _cut(self, z: Tensor) -> list[Tensor]:
        if self.over_tokens:
            return list(z.flatten(2).chunk(len(self.parts), 2))
        return list(z.chunk(len(self.parts), 1))

    def _join(self, parts: list[Tensor], grid: torch.Size) -> Tensor:
        if self.over_tokens:
            return torch.cat(parts, 2).reshape(*parts[0].shape[:2], *grid)
        return torch.cat(parts, 1)
