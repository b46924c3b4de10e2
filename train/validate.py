"""Validation during training: PSNR for every number of layers, SSIM, LPIPS, and the use of every codebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqcodec.tokenizer import Tokenizer, to_pixels, to_unit

from .data.cuts import resized_picture
from .data.pictures import Member, Pictures, scan
from .recipe.schema import Recipe
from .validate_metrics import psnr, ssim

TILE_PX = 512
"""Largest side of a tile, pixels."""
BATCH = 16
"""Tiles at once of a network for one size of picture, which may be small."""
RATE_WEIGHTS = (0.0, 4.0)
"""Further rate factors, next to 1, for codebooks trained with a rate term."""


@dataclass
class Validation:
    """Centre crops of evenly spaced validation pictures; the whole set for the use of the codebooks."""

    crops: list[Tensor]
    """uint8 [3, H, W] each, sides multiples of the stride."""
    whole: Pictures
    window: int = 0
    """Side of the only pictures that the network accepts, pixels; 0: any."""
    side: int = 0
    """Side of the centre cut from pictures whose short side is resized to it, as in the papers, pixels; 0: none."""
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
    """LPIPS, if its weights are installed."""

    @classmethod
    def load(cls, recipe: Recipe) -> Validation:
        """Raises InputError if there is no picture."""
        stride, side, window = recipe.tokenizer.stride, recipe.run.val_crop, recipe.tokenizer.window_px
        resized = max(window or side // stride * stride, stride) if recipe.data.short_side else 0
        whole = scan(recipe.data.val, 1 if resized else window or stride, recipe.data.index)
        chosen = spaced(whole.members, recipe.run.val_images)
        found = cls([], whole, window, resized)
        found.crops = [centre(found.sized(pixels), window or side, stride) for pixels in whole.decoded(chosen)]
        return found

    def sized(self, pixels: np.ndarray) -> np.ndarray:
        """RGB [H, W, 3] as it is validated: with a `side`, resized and its centre cut out."""
        if not self.side:
            return pixels
        return centre(resized_picture(pixels, self.side), self.side, self.side).permute(1, 2, 0).numpy()

    @torch.no_grad()
    def measure(self, model: Tokenizer) -> dict[str, Any]:
        """Measurements over the crops, by name.

        `val/psnr` (dB) for every number of layers; with all layers `val/ssim` (0..1) and `val/lpips`; per group
        `val/used` (0..1), `val/entropy` (bits), `val/crop-perplexity`; zero-order `val/bpp`.
        With a rate term also `val/rate-W`: bpp and PSNR (dB) at the rate factor W.
        """
        psnrs, counts, alike = self._pass(model, 1.0, range(1, len(model.layers) + 1))
        row = {"val/psnr": psnrs, **alike, **_use(counts), "val/bpp": _bpp(model, counts)}
        for weight in RATE_WEIGHTS if knows_rate(model) else ():
            psnrs, counts, _ = self._pass(model, weight, [len(model.layers)])
            row[f"val/rate-{weight:g}"] = [_bpp(model, counts), *psnrs]
        return row

    @torch.no_grad()
    def usage(self, model: Tokenizer) -> dict[str, Any]:
        """`val/usage` (share of codewords) and `val/perplexity` per group, over every pixel of the validation set."""
        counts = [torch.zeros(size) for size in model.sizes]
        for pixels in self.whole.decoded():
            for part in batched(tiles(self.sized(pixels), model.stride, self.window), BATCH if self.window else 1):
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
        return {0: self.crops[0], **{k: to_pixels(model.decode(planes, k)[0]).cpu() for k in keeps}}

    def _pass(self, model: Tokenizer, weight: float, keeps: Any) -> tuple[list[float], list[Tensor], dict[str, float]]:
        """PSNR for each of `keeps`, use of each codeword, and SSIM and LPIPS at the last of `keeps`."""
        alike = {"val/ssim": 0.0} | ({"val/lpips": 0.0} if self.perceptual else {})
        scores = [0.0 for _ in keeps]
        counts = [torch.zeros(size) for size in model.sizes]
        for crop in self.crops:
            x = _batch(crop, model)
            planes = model.encode(x, weight)
            _count(counts, planes)
            for i, keep in enumerate(keeps):
                y = model.decode(planes, keep)
                scores[i] += psnr(y, x).item() / len(self.crops)
            alike["val/ssim"] += ssim(y, x) / len(self.crops)
            if self.perceptual:
                alike["val/lpips"] += self.perceptual(y.float().clamp(-1, 1), x).mean().item() / len(self.crops)
        return [round(score, 3) for score in scores], counts, {name: round(v, 5) for name, v in alike.items()}


def knows_rate(model: Tokenizer) -> bool:
    """True if codewords are selected with a rate term."""
    return model.quantizer.has_rate_term


def tiles(pixels: np.ndarray, stride: int, window: int = 0) -> Iterator[Tensor]:
    """RGB [H, W, 3] -> uint8 [3, h, w], the picture in tiles whose sides are multiples of the stride.

    With a `window` all tiles are squares of that side, and remainders at the edges are dropped.
    """
    unit, side = window or stride, window or TILE_PX
    height, width = (length // unit * unit for length in pixels.shape[:2])
    for top in range(0, height, side):
        for left in range(0, width, side):
            part = pixels[top : min(top + side, height), left : min(left + side, width)]
            yield torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)


def batched(parts: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Lists of `size` parts; the last one may be shorter."""
    while found := list(islice(parts, size)):
        yield found


def spaced(members: list[Member], count: int) -> list[Member]:
    """At most `count` members, evenly spaced."""
    count = min(count, len(members))
    return [members[round(i * (len(members) - 1) / max(count - 1, 1))] for i in range(count)]


def centre(pixels: np.ndarray, side: int, stride: int) -> Tensor:
    """Centre of RGB [H, W, 3] as uint8 [3, h, w], with sides of at most `side` px, multiples of the stride."""
    h, w = (max(min(length, side) // stride, 1) * stride for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - h) // 2, (pixels.shape[1] - w) // 2
    part = np.ascontiguousarray(pixels[top : top + h, left : left + w])
    return torch.from_numpy(part).permute(2, 0, 1)


def _batch(crop: Tensor, model: Tokenizer) -> Tensor:
    return _batches(crop[None], model)


def _batches(crops: Tensor, model: Tokenizer) -> Tensor:
    return to_unit(crops, next(model.parameters()).device)


def _count(counts: list[Tensor], planes: list[Tensor]) -> None:
    for count, plane in zip(counts, planes, strict=True):
        count += torch.bincount(plane.flatten().cpu(), minlength=len(count))


def _use(counts: list[Tensor]) -> dict[str, list[float]]:
    return {
        "val/used": [round((c > 0).float().mean().item(), 3) for c in counts],
        "val/entropy": [round(_entropy(c), 3) for c in counts],
        "val/crop-perplexity": [round(2 ** _entropy(c), 2) for c in counts],
    }


def _bpp(model: Tokenizer, counts: list[Tensor]) -> float:
    return round(sum(_entropy(c) for c in counts) / model.stride**2, 4)


def _entropy(counts: Tensor) -> float:
    """Entropy of the counts, bits."""
    p = counts / counts.sum()
    return float(-(p * p.clamp_min(1e-12).log2()).sum())


def validation_table(step: int, row: dict[str, Any]) -> str:
    """The measurements as a few lines of text."""
    lines = [f"step {step:,}"]
    for name, value in row.items():
        cells = value if isinstance(value, list) else [value]
        lines.append(f"  {name:14s} " + " ".join(f"{cell:6.2f}" for cell in cells))
    return "\n".join(lines)
