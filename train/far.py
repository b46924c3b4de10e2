"""Training of the float model in `vqcodec.far`: for bits per index beside the integer model, and for drawing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from vqcodec.errors import UsageError
from vqcodec.far import Far, FarConfig

from .checkpoint import write_checkpoint
from .prior_data import Tile
from .prior_recipe import PriorRecipe, progress_of, resumed, saved


def train_far(
    tiles: Sequence[Tile],
    sizes: tuple[int, ...],
    recipe: PriorRecipe,
    report: Callable[[str], None] = print,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Far:
    """Fit a float model to crops of index planes [S, h, w]. Raises UsageError where planes are not grids of one shape.

    Tiles without their last planes, and those with gaps, are left out.
    `checkpoint` and `resume` as in `prior.train_prior`.
    """
    whole = [tile for tile in tiles if len(tile) == len(sizes) and min(np.min(plane) for plane in tile) >= 0]
    grids = [np.asarray(tile) for tile in whole if len({np.shape(plane) for plane in tile}) == 1]
    grids = [grid for grid in grids if grid.ndim == 3 and min(grid.shape[1:]) >= recipe.crop]
    if not grids:
        raise UsageError(f"factorized-ar: no tile is a grid of {recipe.crop} positions a side or more with all planes")
    torch.manual_seed(recipe.seed)
    model = Far(FarConfig(tuple(sizes), (recipe.crop, recipe.crop), width=recipe.units))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.05)
    step, spent, total = 0, 0.0, torch.zeros(len(sizes))
    if checkpoint is not None and resume:
        state = resumed(checkpoint, recipe)
        model.load_state_dict(state["prior"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent, total = state["step"], state["spent"], state["total"]
    start, warm = time.monotonic() - spent, min(100, 1 + recipe.steps // 10)
    while (progress := progress_of(step, time.monotonic() - start, recipe)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = (
                recipe.lr * min(1, (step + 1) / warm) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
            )
        bits = model(_crops(grids, recipe, step)).mean(1)
        optimizer.zero_grad(set_to_none=True)
        bits.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += bits.detach()
        step += 1
        if step % 100 == 0:
            report(f"step {step}: {total.mean() / 100:.3f} bits per index")
            total.zero_()
        if checkpoint is not None and step % recipe.checkpoint_every == 0:
            state = {"prior": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "total": total}
            write_checkpoint(checkpoint, {**state, "recipe": saved(recipe), "spent": time.monotonic() - start})
    return model.eval()


@torch.no_grad()
def far_bits(model: Far, tiles: Sequence[Tile]) -> np.ndarray:
    """Mean bits [S] of each plane over whole tiles, cut into grids of the model's size: the first position sees
    nothing."""
    total, count, (h, w) = np.zeros(len(model.config.sizes)), 0, model.config.shape
    for tile in (tile for tile in tiles if len(tile) == len(total)):
        grid = torch.from_numpy(np.asarray(tile).astype(np.int64))[None]
        for y in range(0, grid.shape[2], h):
            for x in range(0, grid.shape[3], w):
                bits = model(grid[:, :, y : y + h, x : x + w])
                total += bits.sum(1).numpy()
                count += bits.shape[1]
    return total / max(count, 1)


def _crops(grids: Sequence[np.ndarray], recipe: PriorRecipe, step: int) -> torch.Tensor:
    """int64 [B, S, crop, crop], a pure function of (seed, step)."""
    rng = np.random.default_rng((recipe.seed, step))
    found = []
    for t in rng.integers(0, len(grids), recipe.batch):
        y, x = (int(rng.integers(0, side - recipe.crop + 1)) for side in grids[t].shape[1:])
        found.append(grids[t][:, y : y + recipe.crop, x : x + recipe.crop])
    return torch.from_numpy(np.stack(found).astype(np.int64))
