"""Validation during training: PSNR of every keep and the usage of every codebook, on fixed crops.

Differs from `vqcodec eval`: no files and no rivals, only what a run needs to be followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqcodec.tokenizer import Tokenizer

from .data import scan
from .losses import psnr
from .recipe import Recipe


@dataclass
class Validation:
    """Centre crops of the validation pictures, cut to multiples of the stride."""

    crops: list[Tensor]
    """uint8 [3, H, W] each."""

    @classmethod
    def load(cls, recipe: Recipe) -> Validation:
        """Evenly spaced pictures of the validation set. Raises InputError if there is none."""
        pictures = scan(recipe.data.val, recipe.tokenizer.stride)
        members = pictures.members
        count = min(recipe.run.val_images, len(members))
        chosen = [members[round(i * (len(members) - 1) / max(count - 1, 1))] for i in range(count)]
        crops = []
        for pixels in pictures.decoded(chosen):
            h, w = (
                min(side, recipe.run.val_crop) // recipe.tokenizer.stride * recipe.tokenizer.stride
                for side in pixels.shape[:2]
            )
            top, left = (pixels.shape[0] - h) // 2, (pixels.shape[1] - w) // 2
            part = np.ascontiguousarray(pixels[top : top + h, left : left + w])
            crops.append(torch.from_numpy(part).permute(2, 0, 1))
        return cls(crops)

    @torch.no_grad()
    def measure(self, model: Tokenizer) -> dict[str, Any]:
        """`val/psnr` per keep (dB), `val/usage` (share of codewords) and `val/entropy` (bits) per group."""
        device = next(model.parameters()).device
        groups = len(model.sizes)
        scores = torch.zeros(groups)
        counts = [torch.zeros(size) for size in model.sizes]
        for crop in self.crops:
            x = crop[None].to(device).float() / 127.5 - 1
            planes = model.encode(x)
            for s, plane in enumerate(planes):
                counts[s] += torch.bincount(plane.flatten().cpu(), minlength=model.sizes[s])
            for keep in range(1, groups + 1):
                scores[keep - 1] += psnr(model.decode(planes, keep), x).item() / len(self.crops)
        return {
            "val/psnr": [round(v, 3) for v in scores.tolist()],
            "val/usage": [round((c > 0).float().mean().item(), 3) for c in counts],
            "val/entropy": [round(_entropy(c), 3) for c in counts],
        }


def _entropy(counts: Tensor) -> float:
    p = counts / counts.sum()
    return float(-(p * p.clamp_min(1e-12).log2()).sum())


def validation_table(step: int, row: dict[str, Any]) -> str:
    """The measurements as a few lines of text."""
    cells = {name: " ".join(f"{v:6.2f}" for v in row[name]) for name in ("val/psnr", "val/usage", "val/entropy")}
    return "\n".join([f"step {step}", *(f"  {name:12s} {line}" for name, line in cells.items())])
