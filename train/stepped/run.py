"""State of a run of a model with a quantization step, and one training step.

Transform and context network learn together. For a sample with quantization step d the loss is log J of the Lagrangian

    J = D + lambda * R        lambda = weight * ln(4) / 12 * d^2

per position of the latent: D the squared error of pixels in -1..1, mixed with 1 - MS-SSIM, R the bits. lambda is the
slope -dD/dR of a uniform quantizer at high rate: D = d^2 / 12 and R = const - log2 d give D proportional to 2^(-2R).
The logarithm gives samples of all rates the same weight.

Values are rounded in training as in files; the gradient passes the rounding (straight-through). All random numbers are
a function of (seed, step), so an interrupted run resumes without a difference.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins
from torch import Tensor, nn

from vqcodec.config.quantizers import LARGEST, UniformConfig
from vqcodec.errors import InputError
from vqcodec.inference.torch_networks import in_bfloat16
from vqcodec.models.loading import read_tensors
from vqcodec.models.registry import WEIGHTS, find
from vqcodec.tokenizer import Tokenizer, to_unit
from vqcodec.transforms.steps import COORDINATE, FINEST, PER_OCTAVE

from ..checkpoint import read_checkpoint, write_checkpoint
from ..moving_average import MovingAverage
from .context import ContextNet
from .optimizer import make_optimizer
from .recipe import SteppedRecipe
from .start import weights_of_model

CHECKPOINT = "checkpoint.pt"
BIT = math.log(4) / 12
"""Weight of a bit at high rate, in squared quantization steps: the slope of D = d^2 / 12."""
LEAST_DISSIMILARITY = 1e-3
"""Least value of 1 - MS-SSIM, which the mixed distortion divides by."""


class Codec(nn.Module):
    """Tokenizer and context network, for one optimizer and one moving average."""

    def __init__(self, recipe: SteppedRecipe) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(recipe.tokenizer)
        quantizer = recipe.tokenizer.quantizer
        assert isinstance(quantizer, UniformConfig)
        self.context = ContextNet(quantizer.levels, recipe.context.hidden)


class SteppedRun:
    """Run of a recipe on `device`."""

    def __init__(self, recipe: SteppedRecipe, device: str = "cpu") -> None:
        self.recipe, self.device, self.step, self.pixels = recipe, torch.device(device), 0, 0
        torch.manual_seed(recipe.run.seed)
        # Muon of pytorch-optimizer takes views of weights and gradients, which need contiguous tensors.
        order = torch.contiguous_format if recipe.optimizer.kind == "muon" else torch.channels_last
        self.order = order
        self.model = Codec(recipe).to(self.device, memory_format=order)  # type: ignore[call-overload]
        self._mark_frozen()
        self.average = MovingAverage(self.model)
        if recipe.run.compile:
            self.model.tokenizer.decoder.compile()
        self.optimizer = make_optimizer(self.model, recipe.optimizer)
        self.widths = torch.tensor(recipe.tokenizer.quantizer.widths, device=self.device)  # type: ignore[union-attr]

    def _mark_frozen(self) -> None:
        tokenizer = self.model.tokenizer
        parts = {"decoder": tokenizer.decoder, "context": self.model.context}
        for name in self.recipe.optimizer.frozen:
            parts[name].requires_grad_(False)

    def averaged(self) -> Codec:
        """New codec with the averaged weights, in evaluation mode; not compiled, since pictures differ in size."""
        with torch.random.fork_rng(devices=[]):
            codec = Codec(self.recipe).to(self.device, memory_format=self.order)  # type: ignore[call-overload]
        codec.load_state_dict(self.average.state_dict())
        return codec.eval()

    def train_step(self, batch: Tensor) -> dict[str, Tensor]:
        """One step on uint8 crops [B, 3, H, W]; returns unweighted means by `group/name`."""
        recipe = self.recipe
        x = to_unit(batch.to(self.device).contiguous(memory_format=self.order))
        generator = torch.Generator().manual_seed(recipe.run.seed * 1_000_003 + self.step)
        drawn = self._draw(len(x), generator)
        self.model.train()
        loss, values = self._loss(x, *(part.to(self.device) for part in drawn))
        return values | self.descend(loss, x.shape[0] * x.shape[2] * x.shape[3])

    def descend(self, loss: Tensor, pixels: int) -> dict[str, Tensor]:
        """Step of the optimizer on `loss` of `pixels` pixels; returns the norm of the gradient."""
        optimizer = self.recipe.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self._schedule()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [value for value in self.model.parameters() if value.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(trained, optimizer.clip)
        self.optimizer.step()
        self.step += 1
        self.pixels += pixels
        self.average.update(min(optimizer.ema, 1 - 1 / (self.step + 1)))
        return {"run/grad_norm": norm}

    def _schedule(self) -> float:
        optimizer = self.recipe.optimizer
        warm = min(1.0, (self.step + 1) / max(optimizer.warmup, 1))
        left = optimizer.steps - self.step
        if left >= optimizer.decay:
            return warm
        return warm * 0.5 * (1 - math.cos(math.pi * left / optimizer.decay))

    def _draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Step numbers [B], rounding thresholds [B] and how many layers are kept [B] of a batch."""
        rate, n_layers = self.recipe.rate, len(self.recipe.tokenizer.quantizer.layers)
        first, last = rate.steps
        steps = torch.randint(first, last + 1, (batch,), generator=generator).float()
        low, high = rate.rounding
        rounding = low + (high - low) * torch.rand(batch, generator=generator)
        kept = torch.randint(1, n_layers + 1, (batch,), generator=generator)
        masked = torch.rand(batch, generator=generator) < self.recipe.loss.masked
        return steps, rounding, torch.where(masked, kept, n_layers)

    def _loss(self, x: Tensor, steps: Tensor, rounding: Tensor, keep: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        recipe, tokenizer = self.recipe, self.model.tokenizer
        size = (FINEST * 2 ** (steps / PER_OCTAVE))[:, None, None, None]
        z = tokenizer.encoder(x)
        scaled = tokenizer.quantizer.coefficients(z) / size
        values = self.rounded(scaled.detach(), rounding)
        if recipe.rate.select:
            values = self.selected(scaled.detach(), values, steps)
        values = scaled + (values - scaled).detach()
        counted = recipe.rate.select or "context" not in recipe.optimizer.frozen
        # A decoder that is trained alone cannot change the bits.
        bits = self.model.context(values, steps) if counted else torch.zeros_like(values)
        there = torch.arange(len(self.widths), device=x.device)[None] < keep[:, None]
        channels = there.repeat_interleave(self.widths, 1)[:, :, None, None]
        kept = torch.cat([there.float(), coordinates(steps)[:, None]], 1)[:, :, None, None]
        with self.autocast():
            y = tokenizer.decoder(
                tokenizer.quantizer.latent(values * size * channels), kept.expand(-1, -1, *z.shape[2:])
            ).float()
        positions = z.shape[2] * z.shape[3]
        squared = (y - x).square().sum((1, 2, 3)) / positions
        of_bits = (bits * channels).sum((1, 2, 3)) / positions
        dissimilarity = self._dissimilarity(y, x)
        error = squared
        if dissimilarity is not None:
            share, n = recipe.loss.ms_ssim, len(dissimilarity)
            mixed = (1 - share) * squared[:n] + share * squared[:n].detach() * dissimilarity / dissimilarity.detach()
            error = torch.cat([mixed, squared[n:]])
        cost = error + recipe.rate.weight * BIT * size[:, 0, 0, 0] ** 2 * of_bits
        # A flat crop at a fine step costs almost nothing; the floor keeps its logarithm from dominating the batch.
        loss = torch.log(cost + 1e-3).mean()
        row = {"loss": loss, "rate/bpp": of_bits.mean() / tokenizer.stride**2}
        row["rec/psnr"] = -10 * torch.log10(squared / (4 * 3 * tokenizer.stride**2)).mean()
        if dissimilarity is not None:
            row["rec/ms-ssim"] = dissimilarity.mean()
        return loss, {name: value.detach() for name, value in row.items()}

    def rounded(self, scaled: Tensor, threshold: Tensor) -> Tensor:
        """Latent in steps -> whole numbers; layers beyond the plain ones round towards 0 below a threshold [B]."""
        threshold = threshold[:, None, None, None].expand(-1, scaled.shape[1], 1, 1).clone()
        threshold[:, : int(self.widths[: self.recipe.rate.plain].sum())] = 0.5
        return (torch.sign(scaled) * torch.floor(scaled.abs() + threshold)).clamp(-LARGEST, LARGEST)

    @torch.no_grad()
    def selected(self, scaled: Tensor, values: Tensor, steps: Tensor) -> Tensor:
        """Whole numbers [B, D, h, w] of least D + lambda * R: the nearest, or the next one towards 0 or the location.

        The encoder's rule, but for all positions at once, with contexts of `values`.
        """
        location, scale = self.model.context.predict(values, steps)
        nearest = torch.round(scaled)
        best, least = values, torch.full_like(scaled, math.inf)
        for candidate in (nearest, nearest - nearest.sign(), nearest - (nearest - location.round()).sign()):
            bits = self.model.context.bits(candidate, location, scale)
            cost = (scaled - candidate).square() + self.recipe.rate.weight * BIT * bits
            best, least = torch.where(cost < least, candidate, best), torch.minimum(cost, least)
        return best.clamp(-LARGEST, LARGEST)

    def _dissimilarity(self, y: Tensor, x: Tensor) -> Tensor | None:
        """1 - MS-SSIM [n] of the first crops of a batch, n by `loss.ms_ssim_crops`."""
        loss = self.recipe.loss
        n = math.ceil(loss.ms_ssim_crops * len(x))
        if not loss.ms_ssim or not n:
            return None
        from pytorch_msssim import ms_ssim

        shown, wanted = ((part[:n].clamp(-1, 1) + 1) / 2 for part in (y, x))
        similarity = ms_ssim(shown.contiguous(), wanted.contiguous(), data_range=1.0, size_average=False)
        dissimilarity: Tensor = (1 - similarity).clamp_min(LEAST_DISSIMILARITY)
        return dissimilarity

    def autocast(self) -> torch.autocast:
        """Precision of the networks."""
        precision = self.recipe.run.precision
        if precision == "auto":
            return in_bfloat16(str(self.device))
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    def save(self, folder: Path) -> None:
        """Write the checkpoint of the run."""
        state: dict[str, Any] = {
            "recipe": json.dumps(to_builtins(self.recipe)),
            "step": self.step,
            "pixels": self.pixels,
        }
        state |= {"model": self.model.state_dict(), "average": self.average.state_dict()}
        write_checkpoint(folder / CHECKPOINT, state | {"optimizer": self.optimizer.state_dict()})

    def load(self, path: Path) -> None:
        """Continue from a checkpoint. Raises InputError."""
        state = read_checkpoint(path)
        try:
            self.model.load_state_dict(state["model"])
            if missing := self.average.values.keys() - state["average"].keys():
                raise KeyError(f"no average of {min(missing)}")
            self.average.load(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.pixels = int(state["step"]), int(state["pixels"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: of another recipe: {str(error).splitlines()[0]}") from error

    def start_from(self, source: str) -> None:
        """Start with the averaged weights of the run in the folder `source`, or those of a model, and their pixels.

        Raises InputError for weights of another recipe, ModelError if there is neither a run nor a model.
        """
        folder = Path(source)
        try:
            if (folder / CHECKPOINT).exists():
                state = read_checkpoint(folder / CHECKPOINT)
                self.model.load_state_dict(state["average"])
                self.pixels = int(state["pixels"])
            else:
                entry = find(source)
                tensors = read_tensors(entry.folder / WEIGHTS, entry.config.weights_sha256)
                self.model.load_state_dict(weights_of_model(tensors, self.model.context))
                self.pixels = round(1e6 * float(entry.config.extra.get("megapixels", 0)))
        except (KeyError, IndexError, RuntimeError) as error:
            raise InputError(f"{source}: of another recipe: {str(error).splitlines()[0]}") from error
        self.average.reset()


def coordinates(steps: Tensor) -> Tensor:
    """`uniform.coordinate` of step numbers [B]."""
    low, high = (math.log2(size) for size in COORDINATE)
    return 2 * (math.log2(FINEST) + steps / PER_OCTAVE - low) / (high - low) - 1
