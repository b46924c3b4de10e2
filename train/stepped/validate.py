"""Validation of a model with a quantization step: bits and quality of rounded values, as in files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqcodec.config.model import TokenizerConfig
from vqcodec.metrics import METRICS
from vqcodec.tokenizer import to_pixels, to_unit

from ..casts import uniform_of
from ..data.pictures import scan
from ..validate import centre, spaced
from .recipe import SteppedRecipe
from .run import Codec, SteppedRun, coordinates

STEPS = (8, 16, 24, 32, 40, 48)
"""Step numbers that are measured."""
ROUNDING = 0.4
"""Rounding offset of all layers except the plain ones, see `RateRecipe.rounding`."""


class Validation:
    """Centres of validation pictures, small and large ones."""

    def __init__(self, recipe: SteppedRecipe) -> None:
        config: TokenizerConfig = recipe.tokenizer
        found = scan(recipe.data.val, config.stride, recipe.data.index)
        side = max(recipe.run.val_crop, config.stride)
        chosen = spaced(found.members, recipe.run.val_images)
        self.crops: list[Tensor] = [centre(pixels, side, config.stride) for pixels in found.decoded(chosen)]

    @torch.no_grad()
    def measure(self, run: SteppedRun) -> dict[str, Any]:
        """`val/bpp`, `val/psnr` (dB) and `val/ms-ssim` at each of STEPS, means over the crops, of the averaged weights.

        Bits are those of the context network in floating point; crops that are too small have no MS-SSIM.
        """
        model = run.averaged()
        sums = torch.zeros(3, len(STEPS))
        counts = torch.zeros(3, len(STEPS))
        for crop in self.crops:
            x = to_unit(crop[None], run.device)
            z = model.tokenizer.encoder(x).float()
            for i, step in enumerate(STEPS):
                measured = self._at(run, model, x, z, torch.tensor([float(step)], device=run.device))
                for j, value in enumerate(measured):
                    if value is not None:
                        sums[j, i] += value
                        counts[j, i] += 1
        means = (sums / counts.clamp_min(1)).tolist()
        names = ("val/bpp", "val/psnr", "val/ms-ssim")
        n_crops = counts[:, 0].tolist()
        return {name: [round(v, 4) for v in row] for name, row, n in zip(names, means, n_crops, strict=True) if n}

    @staticmethod
    def _at(run: SteppedRun, model: Codec, x: Tensor, z: Tensor, step: Tensor) -> tuple[float, float, float | None]:
        from vqcodec.transforms.steps import step_size

        size, quantizer = step_size(float(step)), uniform_of(model.tokenizer)
        values = run.rounded(quantizer.coefficients(z) / size, torch.full_like(step, ROUNDING))
        bits = float(model.context(values, step).sum())
        kept = torch.ones(1, len(run.widths) + 1, *z.shape[2:], device=z.device)
        kept[:, -1] = coordinates(step)
        y = model.tokenizer.decoder(quantizer.latent(values * size), kept).float()
        shown, wanted = (to_pixels(part[0]).permute(1, 2, 0).cpu().numpy() for part in (y, x))
        similarity = METRICS["ms-ssim"].measure(wanted, shown) if min(wanted.shape[:2]) > 176 else None
        psnr = float(METRICS["psnr"].measure(wanted, shown))
        return bits / (x.shape[2] * x.shape[3]), min(psnr, 99.0), similarity
