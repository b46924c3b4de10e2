"""Training of the factorized autoregressive model (vqcodec/sampling), for reference bits per index and for sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from vqcodec.errors import UsageError
from vqcodec.sampling.factorized_ar import Far, FarConfig

from .data import Tile
from .factorized_ar_data import FactorizedArCrops
from .loop import PriorLoop
from .recipe import PriorRecipe


def train_factorized_ar(
    tiles: Sequence[Tile],
    sizes: tuple[int, ...],
    recipe: PriorRecipe,
    report: Callable[[str], None] = print,
    checkpoint: Path | None = None,
    resume: bool = False,
    labels: Sequence[int] = (),
    classes: int = 0,
    accelerator: Accelerator | None = None,
) -> Far:
    """Fit a float model to crops of index planes [S, h, w]; FQGAN, section 3.3.

    Args:
        tiles: index planes; tiles with missing planes or indices are skipped.
        sizes: alphabet size of each plane.
        recipe: sizes of the network and of the crops, and settings of the optimizer.
        report: called with each line of progress.
        checkpoint: file that holds the state of the run; the first process writes it. None: no file.
        resume: continue from `checkpoint`.
        labels: class of each tile, 0..classes - 1; empty without classes.
        classes: number of classes; 0: the model is not conditioned on a class.
        accelerator: processes; each one trains on `recipe.batch` crops a step.

    Raises UsageError if planes are not grids of one shape.
    """
    accelerator = accelerator or Accelerator(cpu=True)
    config = FarConfig(
        tuple(sizes), (recipe.crop, recipe.crop), recipe.units, recipe.heads, recipe.depth, recipe.head_layers, classes
    )
    for problem in config.problems():
        raise UsageError(f"factorized-ar: {problem}")
    part = accelerator.process_index, accelerator.num_processes
    crops = FactorizedArCrops(tiles, len(sizes), recipe, labels, classes, *part)
    torch.manual_seed(recipe.seed)
    model = Far(config, recipe.dropout).to(accelerator.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.05)
    loop = PriorLoop(recipe, model, optimizer, len(sizes), checkpoint, resume, accelerator.is_main_process)
    network, prepared = accelerator.prepare(model, optimizer)
    network.train()

    def take_step(step: int, progress: float) -> Tensor:
        # Seed of dropout in this process and step; crops and dropped labels are drawn for the global batch.
        torch.manual_seed(((recipe.seed * 1_000_003 + step) * 1009 + accelerator.process_index) % 2**63)
        return _step(network, prepared, accelerator, crops.batch(step), recipe.bf16)

    def report_bits(step: int, bits: Tensor) -> None:
        report(f"step {step}: {float(accelerator.reduce(bits, 'mean').mean()):.3f} bits per index")

    loop.run(take_step, report_bits)
    return model.eval()


def _step(network: Any, optimizer: Any, accelerator: Accelerator, batch: tuple[Tensor, Tensor], bf16: bool) -> Tensor:
    """One step; returns the bits per index of each plane [S]."""
    device = accelerator.device
    planes, labels = (part.to(device) for part in batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        bits = network(planes, labels).mean(1)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(bits.mean())
    accelerator.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return bits.detach()


@torch.no_grad()
def factorized_ar_bits(model: Far, tiles: Sequence[Tile], labels: Sequence[int] = ()) -> np.ndarray:
    """Mean bits [S] of each plane over whole tiles, cut into grids of the model's size.

    The context of the first position is the label alone, or nothing without `labels`.
    """
    device = model.start.weight.device
    total, count, (h, w) = np.zeros(len(model.config.sizes)), 0, model.config.shape
    for t, tile in enumerate(tiles):
        if len(tile) != len(total):
            continue
        grid = torch.from_numpy(np.asarray(tile).astype(np.int64))[None].to(device)
        label = torch.tensor([labels[t] if labels else model.config.classes], device=device)
        for y in range(0, grid.shape[2], h):
            for x in range(0, grid.shape[3], w):
                bits = model(grid[:, :, y : y + h, x : x + w], label)
                total += bits.sum(1).double().cpu().numpy()
                count += bits.shape[1]
    return total / max(count, 1)
