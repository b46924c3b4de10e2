"""Validation during training: PSNR of every keep and the use of every codebook.

Differs from `vqcodec eval`: no files and no rivals, only what a run needs to be followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqcodec.config import ProductVQConfig
from vqcodec.tokenizer import Tokenizer

from .losses import psnr
from .pictures import Member, Pictures, scan
from .recipe import Recipe
from .shapes import fixed_side

TILE_PX = 512
BATCH = 16
"""Tiles at once of a network that sees but one size, which may be small."""
RATE_WEIGHTS = (0.0, 4.0)
"""Beside 1: how much the rate counts where the codebooks were trained with one."""


@dataclass
class Validation:
    """Centre crops of evenly spaced validation pictures; the whole set for the use of the codebooks."""

    crops: list[Tensor]
    """uint8 [3, H, W] each, sides multiples of the stride."""
    whole: Pictures
    window: int = 0
    """Side of the only pictures that the network can see, px; 0: any."""

    @classmethod
    def load(cls, recipe: Recipe) -> Validation:
        """Raises InputError if there is no picture."""
        stride, side, window = recipe.tokenizer.stride, recipe.run.val_crop, fixed_side(recipe.tokenizer)
        whole = scan(recipe.data.val, window or stride)
        chosen = _spaced(whole.members, recipe.run.val_images)
        return cls([_centre(pixels, window or side, stride) for pixels in whole.decoded(chosen)], whole, window)

    @torch.no_grad()
    def measure(self, model: Tokenizer) -> dict[str, Any]:
        """`val/psnr` (dB) per keep over the crops; per group `val/used`, `val/entropy`; `val/bpp` without context.

        Where choosing codewords knows a rate, `val/rate-W` are bpp and PSNR with the rate weighing W.
        """
        psnrs, counts = self._pass(model, 1.0, range(1, len(model.layers) + 1))
        row = {"val/psnr": psnrs, **_use(counts), "val/bpp": _bpp(model, counts)}
        for weight in RATE_WEIGHTS if knows_rate(model) else ():
            psnrs, counts = self._pass(model, weight, [len(model.layers)])
            row[f"val/rate-{weight:g}"] = [_bpp(model, counts), *psnrs]
        return row

    @torch.no_grad()
    def usage(self, model: Tokenizer) -> dict[str, Any]:
        """`val/usage` (share of codewords) and `val/perplexity` per group, over every pixel of the validation set."""
        counts = [torch.zeros(size) for size in model.sizes]
        for pixels in self.whole.decoded():
            for part in batched(tiles(pixels, model.stride, self.window), BATCH if self.window else 1):
                _count(counts, model.encode(_batches(torch.stack(part), model)))
        return {
            "val/usage": [round((c > 0).float().mean().item(), 4) for c in counts],
            "val/perplexity": [round(2 ** _entropy(c), 2) for c in counts],
        }

    @torch.no_grad()
    def pictures(self, model: Tokenizer) -> dict[int, Tensor]:
        """The first crop by keep (0: itself), uint8 [3, H, W]."""
        planes = model.encode(_batch(self.crops[0], model))
        keeps = range(1, len(model.layers) + 1)
        decoded = {keep: model.decode(planes, keep)[0].float().clamp(-1, 1) for keep in keeps}
        return {0: self.crops[0], **{k: ((y + 1) * 127.5).round().byte().cpu() for k, y in decoded.items()}}

    def _pass(self, model: Tokenizer, weight: float, keeps: Any) -> tuple[list[float], list[Tensor]]:
        """PSNR per keep, and how often each codeword was chosen."""
        scores = [0.0 for _ in keeps]
        counts = [torch.zeros(size) for size in model.sizes]
        for crop in self.crops:
            x = _batch(crop, model)
            planes = model.encode(x, weight)
            _count(counts, planes)
            for i, keep in enumerate(keeps):
                scores[i] += psnr(model.decode(planes, keep), x).item() / len(self.crops)
        return [round(score, 3) for score in scores], counts


def knows_rate(model: Tokenizer) -> bool:
    """Whether codewords are chosen by their cost too."""
    return isinstance(model.config.quantizer, ProductVQConfig) and bool(model.quantizer.costs.any())


def tiles(pixels: np.ndarray, stride: int, window: int = 0) -> Iterator[Tensor]:
    """RGB [H, W, 3] -> uint8 [3, h, w], the picture in tiles whose sides are multiples of the stride.

    With a `window` all of them are squares of that side, and what is left over at the edges is left out.
    """
    unit, side = window or stride, window or TILE_PX
    height, width = (length // unit * unit for length in pixels.shape[:2])
    for top in range(0, height, side):
        for left in range(0, width, side):
            part = pixels[top : min(top + side, height), left : min(left + side, width)]
            yield torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)


def batched(parts: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Lists of `size` parts, the last one maybe shorter."""
    while found := list(islice(parts, size)):
        yield found


def _spaced(members: list[Member], count: int) -> list[Member]:
    count = min(count, len(members))
    return [members[round(i * (len(members) - 1) / max(count - 1, 1))] for i in range(count)]


def _centre(pixels: np.ndarray, side: int, stride: int) -> Tensor:
    h, w = (max(min(length, side) // stride, 1) * stride for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - h) // 2, (pixels.shape[1] - w) // 2
    part = np.ascontiguousarray(pixels[top : top + h, left : left + w])
    return torch.from_numpy(part).permute(2, 0, 1)


def _batch(crop: Tensor, model: Tokenizer) -> Tensor:
    return _batches(crop[None], model)


def _batches(crops: Tensor, model: Tokenizer) -> Tensor:
    return crops.to(next(model.parameters()).device).float() / 127.5 - 1


def _count(counts: list[Tensor], planes: list[Tensor]) -> None:
    for count, plane in zip(counts, planes, strict=True):
        count += torch.bincount(plane.flatten().cpu(), minlength=len(count))


def _use(counts: list[Tensor]) -> dict[str, list[float]]:
    return {
        "val/used": [round((c > 0).float().mean().item(), 3) for c in counts],
        "val/entropy": [round(_entropy(c), 3) for c in counts],
    }


def _bpp(model: Tokenizer, counts: list[Tensor]) -> float:
    return round(sum(_entropy(c) for c in counts) / model.stride**2, 4)


def _entropy(counts: Tensor) -> float:
    """Bits."""
    p = counts / counts.sum()
    return float(-(p * p.clamp_min(1e-12).log2()).sum())


def validation_table(step: int, row: dict[str, Any]) -> str:
    """The measurements as a few lines of text."""
    lines = [f"step {step:,}"]
    for name, value in row.items():
        cells = value if isinstance(value, list) else [value]
        lines.append(f"  {name:14s} " + " ".join(f"{cell:6.2f}" for cell in cells))
    return "\n".join(lines)
