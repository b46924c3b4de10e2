"""Training of the context model in `vqcodec.entropy.context_model`: in floats first, then with rounded weights.

All planes of a tile are coded as in a file, pass by pass, with contexts that end at the tile's border. The loss is bits
per index.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqcodec.encoder.build import UNREFINED
from vqcodec.entropy.alphabet_split import AlphabetSplit, split_by_similarity
from vqcodec.entropy.context_model import ContextModel
from vqcodec.errors import InputError, OutputError, UsageError
from vqcodec.models.identity import CODEBOOKS, REFINEMENTS
from vqcodec.models.loading import load_model

from ..data.pictures import scan
from .data import Collection, PriorCrops, Tile, collect_tiles
from .loop import PriorLoop
from .network import Prior
from .recipe import PriorRecipe, check_prior, refuse_stepped
from .report import bits_per_index, compare
from .run_factorized_ar import run_factorized_ar

__all__ = ["Prior", "PriorRecipe", "add_prior", "bits_per_index", "collect_tiles", "run_prior", "train_prior"]

ROUNDED_SHARE = 0.2
"""Share of the steps, the last ones, that train the network with rounded weights and activations."""


def train_prior(
    tiles: Sequence[Tile],
    sizes: tuple[int, ...],
    recipe: PriorRecipe,
    report: Callable[[str], None] = print,
    checkpoint: Path | None = None,
    resume: bool = False,
    codewords: Sequence[np.ndarray] | None = None,
    before: ContextModel | None = None,
    device: str = "cpu",
) -> Prior:
    """Fit a context model to index planes, on `device`; the last steps train it rounded.

    Args:
        tiles: index planes of access tiles.
        sizes: alphabet size of each plane.
        recipe: sizes of the network and of the crops, and settings of the optimizer.
        report: called with each line of progress.
        checkpoint: file that holds the state of the run; None: no file.
        resume: continue from `checkpoint`.
        codewords: [K, d] of each plane; large alphabets are split so that similar codewords share a part.
        before: context model that training starts from.
        device: torch device of the network.

    Raises InputError for a checkpoint that cannot be read or is of another recipe.
    """
    torch.manual_seed(recipe.seed)
    splits = _splits(sizes, codewords)
    prior = Prior(sizes, recipe.units, recipe.near or None, splits, recipe.grids, recipe.own_by_grid)
    padded = [prior.padded(tile) for tile in tiles]
    prior.start_from(
        [
            np.bincount(np.concatenate([tile[v].ravel() for tile in padded]), minlength=size + 2)[:size]
            for v, size in enumerate(prior.coded_sizes)
        ]
    )
    if before is not None:
        prior.go_on_from(before)
    prior.to(device)
    optimizer = torch.optim.Adam(prior.parameters(), lr=recipe.lr, betas=(0.9, 0.99), fused=True)
    crops = PriorCrops(padded, prior.coded_sizes, recipe.batch, recipe.crop, recipe.seed, recipe.grids)
    del padded  # PriorCrops holds a stacked copy
    loop = PriorLoop(recipe, prior, optimizer, len(prior.coded_sizes), checkpoint, resume)

    def take_step(step: int, progress: float) -> Tensor:
        quantized = progress >= 1 - ROUNDED_SHARE
        for net in prior.nets():
            net.quantized = quantized
        return _step(
            prior,
            optimizer,
            crops.batch(step),
            drawn_weights(recipe, step, len(prior.coded_sizes)),
            recipe.bf16 and not quantized,
        )

    def report_bits(step: int, bits: Tensor) -> None:
        each = " ".join(f"{value:.2f}" for value in bits)
        report(f"step {step}: {bits.sum() / len(sizes):.3f} bits per index  {each}")

    loop.run(take_step, report_bits)
    for net in prior.nets():
        net.quantized = True
    return prior.cpu()


def _splits(sizes: Sequence[int], codewords: Sequence[np.ndarray] | None) -> list[AlphabetSplit]:
    return [split_by_similarity(size, None if codewords is None else codewords[s]) for s, size in enumerate(sizes)]


def _check_start(recipe: PriorRecipe, before: ContextModel | None, splits: Sequence[AlphabetSplit]) -> None:
    """Raise UsageError for planes that there are not, and a context model that training cannot start from."""
    planes = sum(len(split.sizes) for split in splits)
    for key, numbers in (("always", recipe.always), ("own_by_grid", recipe.own_by_grid)):
        if wrong := [s for s in numbers if s >= planes]:
            raise UsageError(f"recipe.{key}: plane {wrong[0]}; model '{recipe.model}' has planes 0..{planes - 1}")
    if not recipe.again:
        return
    if before is None:
        raise UsageError(f"recipe.again: model '{recipe.model}' has no context model")
    if before.grids > recipe.grids:
        raise UsageError(f"recipe.grids: {recipe.grids}; the context model of '{recipe.model}' has {before.grids}")
    by_grid = [s for s, net in enumerate(before.nets) if len(net.own) > 1]
    if missing := sorted(set(by_grid) - set(recipe.own_by_grid)):
        raise UsageError(f"recipe.own_by_grid: without plane {missing[0]}; that of '{recipe.model}' is {by_grid}")


def drawn_weights(recipe: PriorRecipe, step: int, planes: int) -> np.ndarray:
    """Weight [planes] of each coded plane in a step: 0 for those that it leaves out; the mean over steps is 1."""
    drawn = np.random.default_rng((recipe.seed, step, planes)).random(planes) < recipe.share
    weights = np.where(drawn, 1 / recipe.share, 0)
    weights[list(recipe.always)] = 1
    return weights


def _step(
    prior: Prior, optimizer: torch.optim.Optimizer, codes: list[Tensor], weights: np.ndarray, bf16: bool
) -> Tensor:
    """One step; returns the bits per index of each coded plane times its weight."""
    device, m = next(prior.parameters()).device, prior.margin
    counts = [int((plane[:, m:-m, m:-m] < size).sum()) for plane, size in zip(codes, prior.coded_sizes, strict=True)]
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        bits = prior([plane.to(device) for plane in codes], weights > 0)
    means = torch.stack([w * b.sum() / max(n, 1) for w, b, n in zip(weights, bits, counts, strict=True)])
    if means.requires_grad:  # not where the step leaves all planes out
        optimizer.zero_grad(set_to_none=True)
        (means.sum() / len(prior.sizes)).backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
    return means.detach()


def add_prior(folder: Path, prior: Prior) -> None:
    """Replace the entropy model in a model folder; its token identity stays, its entropy identity changes."""
    from safetensors.numpy import load_file

    from vqcodec.models.loading import write_model
    from vqcodec.models.registry import WEIGHTS, read_config

    tensors = load_file(folder / WEIGHTS)
    kept = {name: value for name, value in tensors.items() if not name.startswith(("entropy.", "prior."))}
    write_model(folder, read_config(folder), {**kept, **prior.tensors()})


def run_prior(
    recipe: PriorRecipe,
    out: Path,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> None:
    """Copy the recipe's model to folder `out` and give it a context model trained on the recipe's pictures.

    The network is trained on `device`; its tiles are collected on the CPU. With the architecture factorized-ar
    (run_factorized_ar.py) the copy keeps its entropy model and gets a float model for sampling in addition.
    The run's state is a file next to `out` until the run is finished; `resume` continues from it.
    Raises ModelError, InputError for missing data or state, and OutputError if `out` exists.
    """
    if out.exists():
        raise OutputError(f"{out}: exists already; name another folder")
    check_prior(recipe)
    checkpoint = out.with_name(f"{out.name}.checkpoint.pt")
    if resume and not checkpoint.exists():
        raise InputError(f"{checkpoint}: no checkpoint there; leave --resume out to start anew")
    if recipe.architecture == "factorized-ar":
        out.parent.mkdir(parents=True, exist_ok=True)
        return run_factorized_ar(recipe, out, checkpoint, resume, report, device)
    refuse_stepped(recipe.model)
    model = load_model(recipe.model)
    books = [book for name in (CODEBOOKS, REFINEMENTS) if name in model.tensors for book in model.tensors[name]]
    fitting = [len(book) for book in books] == list(model.entropy.sizes)
    codewords = [book.astype(np.float32) for book in books] if fitting else None
    before = model.entropy if recipe.again and isinstance(model.entropy, ContextModel) else None
    _check_start(recipe, before, _splits(model.entropy.sizes, codewords))
    pictures = scan(recipe.train, model.stride)
    report(f"{model.config.name}: indices of {len(pictures.members)} pictures")
    collection = Collection(recipe.rates, recipe.most_tiles, recipe.copies, recipe.effort)
    tiles = collect_tiles(model, pictures, recipe.tile_px // model.stride, collection)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        prior = train_prior(tiles, model.entropy.sizes, recipe, report, checkpoint, resume, codewords, before, device)
    except ValueError as error:
        raise UsageError(f"recipe.again: model '{recipe.model}': {error}") from error
    if recipe.val:
        unrefined = Collection(effort=UNREFINED)
        held_out = collect_tiles(model, scan(recipe.val, model.stride), recipe.tile_px // model.stride, unrefined)
        report(compare(prior, tiles, held_out))
    shutil.copytree(model.entry.folder, out)
    add_prior(out, prior)
    checkpoint.unlink(missing_ok=True)
    report(f"{out}: {model.config.name} with a context model")
