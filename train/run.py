"""State of a tokenizer's training run, and one training step.

All random numbers of a step (crops, masks, noise, revived codewords) are a function of (seed, step) for the global
batch, of which each process takes its part. An interrupted run therefore resumes without a difference, and several
processes train as one process would with all of their crops.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from msgspec import to_builtins
from torch import Tensor

from vqcodec.errors import InputError
from vqcodec.quantizers.codebook import GradientBank
from vqcodec.quantizers.estimators import ESTIMATORS
from vqcodec.tokenizer import Tokenizer, to_unit

from .adversarial.adversary import CHANCES, Adversary
from .casts import product_of
from .checkpoint import read_checkpoint, write_checkpoint
from .clock import Clock
from .data.device import send
from .finetuning import load_tuned, merged, tune
from .losses.auxiliary import AuxiliaryLosses
from .losses.names import active, weights_at
from .losses.perceptual import make_perceptual
from .losses.rate import usage_bits
from .losses.reconstruction import reconstruction_losses
from .moving_average import MovingAverage
from .quantization.build import make_codebooks
from .quantization.context_choice import PriorChoice
from .quantization.nested_masking import draw_kept
from .quantization.perturbation import LatentPerturbation
from .recipe.schema import Recipe
from .schedule import learning_rate_at
from .start.from_model import with_refinement_tensors
from .start.from_vit import randomly_initialised

CHECKPOINT = "checkpoint.pt"
LINEAR_LR = 0.1
"""Learning rate of a backbone's linear path, as a share of `optimizer.lr`."""


class TokenizerRun:
    """Run of a recipe: the tokenizer, the moving average of its weights, its optimizer and its adversary.

    `batches(number)` gives this process's part of global batch `number`: uint8 [B, 3, H, W].
    """

    def __init__(self, recipe: Recipe, accelerator: Accelerator, batches: Callable[[int], Tensor]) -> None:
        self.recipe, self.accelerator, self.batches = recipe, accelerator, batches
        self.device = accelerator.device
        self.step = 0
        self.best: dict[str, float] = {}
        """Score of the best checkpoint by the name of its metric, see best_checkpoint.py."""
        self.clock = Clock()
        names = active(recipe.losses)
        self.perceptual = make_perceptual(self.device) if "rec/lpips" in names else None
        torch.manual_seed(recipe.run.seed)
        self.model = Tokenizer(recipe.tokenizer, recipe.codebook.learning)
        tune(self.model, recipe.tuning, recipe.optimizer.frozen, randomly_initialised(self.model, recipe.pretrained))
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.quantizer.estimate = ESTIMATORS[recipe.optimizer.estimator]
        if recipe.masking.losses == "kept":
            product_of(self.model).only_kept = True
        if recipe.codebook.choice:
            product_of(self.model).choose = PriorChoice(recipe.codebook.choice)
        self.codebooks = make_codebooks(recipe, self.model, accelerator)
        self.rate_loss = partial(usage_bits, tokenizer=self.model)
        self.adversary = (
            Adversary(recipe.gan, self.device, accelerator, recipe.data.crop) if "gan/generator" in names else None
        )
        self.auxiliary = AuxiliaryLosses(recipe, self.model, accelerator)
        self.perturbation = LatentPerturbation(recipe.perturbation, self.model, accelerator, self.auxiliary.grid)
        self.average = MovingAverage(self.model)
        if recipe.run.compile:
            self.model.encoder.compile()
            self.model.decoder.compile()
        self.network, self.optimizer = accelerator.prepare(self.model, self._make_optimizer())

    def _make_optimizer(self) -> torch.optim.AdamW:
        """AdamW; a linear path has a lower learning rate, and the quantizer no weight decay."""
        optimizer = self.recipe.optimizer
        parts: dict[tuple[float, float], list[Tensor]] = {}
        for name, value in self.model.named_parameters():
            if not value.requires_grad:
                continue
            scale = LINEAR_LR if ".linear." in name else 1.0
            decay = 0.0 if name.startswith("quantizer.") else optimizer.weight_decay
            parts.setdefault((scale, decay), []).append(value)
        if heads := self.auxiliary.parameters():
            parts.setdefault((1.0, optimizer.weight_decay), []).extend(heads)
        groups = [{"params": part, "scale": scale, "weight_decay": decay} for (scale, decay), part in parts.items()]
        return torch.optim.AdamW(groups, lr=optimizer.lr, betas=(optimizer.betas[0], optimizer.betas[1]), fused=True)

    def train_step(self, parts: list[Tensor]) -> dict[str, Tensor]:
        """One step on `accumulate` batches of uint8 crops [B, 3, H, W].

        Returns the means over all processes: unweighted losses by `group/name`, `total` and `grad_norm`.
        """
        recipe, generator = self.recipe, self.generator()
        learning_rate = learning_rate_at(recipe.optimizer, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["scale"]
        self.model.train()
        if "quantizer" not in recipe.optimizer.frozen:
            self.codebooks.before_step(self.step, self.batches)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        latents: list[Tensor] = []
        for i, batch in enumerate(parts):
            last = i == len(parts) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.network):
                losses, z = self._forward_backward(batch, generator, len(parts), learning_rate)
            latents.append(z)
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value / len(parts)
        with self.clock("optimizer"):
            self.auxiliary.synchronize()
            trained = [*self.model.parameters(), *self.auxiliary.parameters()]
            sums["grad_norm"] = torch.nn.utils.clip_grad_norm_(trained, recipe.optimizer.clip)
            self.optimizer.step()
            if "quantizer" not in recipe.optimizer.frozen:
                self.codebooks.after_step(self.step, torch.cat(latents), generator)
            self._follow()
        self.step += 1
        names = list(sums)
        means = self.accelerator.reduce(torch.stack([sums[name].float() for name in names]), "mean")
        return dict(zip(names, means, strict=True))

    def _forward_backward(
        self, batch: Tensor, generator: torch.Generator, parts: int, learning_rate: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients of one batch [B, 3, H, W]; returns its losses and its latent, without graph."""
        recipe = self.recipe
        batch = batch if batch.device.type == self.device.type else send(batch, self.device)
        x = to_unit(batch.contiguous(memory_format=torch.channels_last))
        with self.clock("forward"):
            kept, noise, weight = self._draw(x, generator)
            self.perturbation.draw(self.step, len(x), generator)
            chances = self._draw_chances(len(x), generator)
            with self._autocast():
                result = self.network(x, kept, noise, self.codebooks.started(self.step), weight)
            names = active(recipe.losses)
            with self._autocast():
                target = x.repeat(recipe.masking.draws, 1, 1, 1)
                losses = reconstruction_losses(result, target, names, self.perceptual, self.rate_loss)
                losses |= self.auxiliary.losses(result, x, self.step / recipe.optimizer.steps)
            weights = weights_at(recipe.losses, recipe.warmup, self.step)
            total = sum((weights[name] * loss for name, loss in losses.items()), x.new_zeros(()))
            playing = self.adversary is not None and self.adversary.active(self.step)
            if self.adversary is not None and playing:
                gan = self.adversary.generator_loss(result.x, chances)
                losses["gan/generator"] = gan
                total = total + weights["gan/generator"] * self._adaptive_weight(losses, weights, gan) * gan
        with self.clock("backward"):
            self.accelerator.backward(total / parts)
        logged = {name: value.detach() for name, value in losses.items()}
        if self.adversary is not None and playing:
            with self.clock("discriminator"):
                logged |= self.adversary.step(target, result.x, learning_rate / recipe.optimizer.lr, chances)
        return {**logged, "total": total.detach()}, result.z.detach()

    def _adaptive_weight(self, losses: dict[str, Tensor], weights: dict[str, float], gan: Tensor) -> Tensor | float:
        if self.adversary is None or not self.recipe.gan.adaptive:
            return 1.0
        parts = (weights[name] * loss for name, loss in losses.items() if name.startswith("rec/"))
        rec = sum(parts, gan.new_zeros(()))
        return self.adversary.adaptive_weight(rec, gan, self.model.decoder.last_layer)

    def _draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """This process's part of what is drawn for the global batch.

        Keep maps [draws * B, G, h, w], one block of B per decoding; noise [B, D, h, w]; rate factors [B], or None
        without a rate term.
        """
        size = self.auxiliary.grid
        whole = len(x) * self.accelerator.num_processes
        part = slice(self.accelerator.process_index * len(x), (self.accelerator.process_index + 1) * len(x))
        masking, groups = self.recipe.masking, self.recipe.tokenizer.quantizer.groups
        kept = [torch.ones(whole, groups, *size)] if masking.draws > 1 else []
        kept += [draw_kept(masking, whole, groups, size, generator) for _ in range(masking.draws - len(kept))]
        shape = (whole, self.model.channels, *size)
        noise = torch.randn(shape, generator=self._own(generator), device=self.device)
        if self.recipe.optimizer.estimator == "half-and-half":
            noise[: whole // 2] = 0
        rates = self.codebooks.draw_rate(whole, generator)
        return (
            send(torch.cat([drawn[part] for drawn in kept]), self.device),
            noise[part],
            None if rates is None else send(rates[part], self.device),
        )

    def _own(self, generator: torch.Generator) -> torch.Generator:
        """Generator on the device for large tensors; seeded from `generator`, so equal in all processes."""
        if self.device.type == "cpu":
            return generator
        seed = int(torch.randint(2**62, (), generator=generator))
        return torch.Generator(self.device).manual_seed(seed)

    def _draw_chances(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """This process's part of the global batch's random numbers for the adversary."""
        if self.adversary is None or not self.adversary.draws or not self.adversary.active(self.step):
            return None
        whole, first = batch * self.accelerator.num_processes, batch * self.accelerator.process_index
        return send(torch.rand((whole, *CHANCES), generator=generator)[first : first + batch], self.device)

    @torch.no_grad()
    def _follow(self) -> None:
        """Update the moving average; its decay is lower in the first steps."""
        decay = min(self.recipe.optimizer.ema, (self.step + 1) / (self.step + 10))
        self.average.update(decay)
        # The average of a codeword that was replaced starts again.
        for name, module in self.model.named_modules():
            if isinstance(module, GradientBank) and module.fresh is not None:
                mean = self.average.values[f"{name}.codebooks"]
                mean.copy_(torch.where(module.fresh[..., None], module.codebooks, mean))
                module.fresh = None

    def generator(self) -> torch.Generator:
        """Random numbers of the present step, equal in all processes."""
        return torch.Generator().manual_seed(self.recipe.run.seed * 1_000_003 + self.step)

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.run.precision == "bf16")

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Tokenizer]:
        """Context with the averaged weights in the tokenizer, in evaluation mode."""
        with self.average.applied():
            yield self.model.eval()

    def save(self, folder: Path, name: str = CHECKPOINT) -> None:
        """Replace the checkpoint `name` in `folder`; only the first process writes."""
        if not self.accelerator.is_main_process:
            return
        state: dict[str, Any] = {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "codebooks": self.codebooks.state_dict(),
            "auxiliary": self.auxiliary.state_dict(),
            "recipe": json.dumps(to_builtins(self.recipe)),
            "best": self.best,
        }
        if self.adversary is not None:
            state["adversary"] = self.adversary.state_dict()
        write_checkpoint(folder / name, state)

    def load(self, path: Path) -> None:
        """Continue from the checkpoint at `path`. Raises InputError."""
        state = read_checkpoint(path)
        self._load_weights(state, path)
        if missing := {"optimizer", "codebooks", "auxiliary"} - state.keys():
            raise InputError(f"{path}: no checkpoint of this version: holds no '{min(missing)}'")
        self.optimizer.load_state_dict(state["optimizer"])
        self.codebooks.load_state_dict(state["codebooks"])
        self.auxiliary.load_state_dict(state["auxiliary"])
        if self.adversary is not None and "adversary" in state:
            self.adversary.load_state_dict(state["adversary"])
        self.step = int(state["step"])
        self.best = state.get("best", {})

    def start_from(self, path: Path) -> None:
        """Take weights and codebooks of the checkpoint at `path` as the start of a new run. Raises InputError."""
        state = read_checkpoint(path)
        state["model"] = with_refinement_tensors(merged({**state["model"], **state["ema"]}), self.model.state_dict())
        self._load_weights(state, path)

    def restart(self) -> None:
        """Begin with the present weights of the model, which a start has set."""
        self.average.reset()
        self.codebooks.restart()

    def _load_weights(self, state: dict[str, Any], path: Path) -> None:
        try:
            load_tuned(self.model, state["model"])
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise InputError(f"{path}: of another architecture than the recipe: {reason}") from error
        self.average.load(state["ema"])
