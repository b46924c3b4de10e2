"""Export of a run to a model folder: averaged weights in float16, entropy tables, quality ladder and card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import to_builtins

from vqcodec.config.model import LadderStep, ModelConfig
from vqcodec.entropy.adaptive_tables import option_bits, table_from_counts
from vqcodec.entropy.index_order import scan as coding_order
from vqcodec.errors import InputError, ModelError
from vqcodec.models.identity import token_identity
from vqcodec.models.loading import write_model
from vqcodec.models.registry import WEIGHTS, find
from vqcodec.models.weights_int8 import pack, unpack
from vqcodec.tokenizer import NO_RATE, Tokenizer, to_unit, training_only

from .checkpoint import read_checkpoint
from .data.pictures import Pictures, scan
from .file_layers import file_layers
from .finetuning import merged
from .first_weight import measured_config
from .logs import Report
from .recipe.load import from_tree
from .recipe.schema import Recipe
from .run import CHECKPOINT
from .stepped.export import export_stepped
from .stepped.recipe import is_stepped
from .validate import tiles as cut

TABLES = 16
"""Prepared frequency tables of each plane."""
STEPS = 12
"""Steps of the quality ladder if the recipe names no rates."""


def export_run(
    run: Path,
    out: Path,
    name: str | None = None,
    report: Report = print,
    data: tuple[str, ...] = (),
    card: str = "",
    prior: str = "",
    checkpoint: str = CHECKPOINT,
) -> ModelConfig:
    """Write the averaged weights of `run` as a model to the folder `out`.

    Args:
        run: folder of the run.
        out: folder of the model, created if needed.
        name: name of the model; None: the recipe's.
        report: called with each line of progress.
        data: pictures that the entropy tables are counted over; empty: the recipe's training pictures.
        card: text of the model card; empty: one made of the recipe.
        prior: name or folder of a model of the same tokens whose entropy model is taken instead of tables.
        checkpoint: file of the run that is read, the last one or best_checkpoint.BEST.

    Raises InputError if the run cannot be read, ModelError if `prior` is no such model.
    """
    state = read_checkpoint(run / checkpoint)
    if "recipe" in state and is_stepped(json.loads(state["recipe"])):
        return export_stepped(state, out, name, report)
    try:
        recipe = from_tree(json.loads(state["recipe"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{run}: the checkpoint holds no recipe: {error}") from error
    tokenizer = averaged_tokenizer(recipe, state)
    settings = measured_config(tokenizer, recipe, data, prior, report)
    ladder = make_ladder(recipe)
    tensors = pack(network_tensors(tokenizer, rated=bool(recipe.codebook.rate)), recipe.export.packed)
    tensors |= entropy_tensors(prior) if prior else _counted(tokenizer, recipe, data, ladder, report)
    config = ModelConfig(
        name=name or recipe.name,
        tokenizer=settings,
        token_id="",
        entropy_id="",
        weights_sha256="",
        layers=file_layers(recipe),
        ladder=ladder,
        license="see README.md",
        description=recipe.description,
        extra={"steps": int(state["step"])},
    )
    if prior and (theirs := token_identity(config, unpack(tensors)).hex()) != (ours := find(prior).config.token_id):
        raise ModelError(f"{prior}: its entropy model is for other tokens ({ours}, not {theirs})")
    config = write_model(out, config, tensors)
    (out / "README.md").write_text(card or _card(recipe, config, int(state["step"])), encoding="utf-8")
    report(f"{out}: {config.name}, step {state['step']}, {(out / 'model.safetensors').stat().st_size:,} bytes")
    return config


def averaged_tokenizer(recipe: Recipe, state: dict[str, Any]) -> Tokenizer:
    """Tokenizer with the averaged weights of a checkpoint, rounded to float16 as the codec will use them."""
    tokenizer = Tokenizer(recipe.tokenizer)
    tokenizer.load_state_dict(merged({**state["model"], **state["ema"]}))
    return tokenizer.half().float().eval()


def network_tensors(tokenizer: Tokenizer, rated: bool) -> dict[str, np.ndarray]:
    """Tensors of the model file, float16; costs, caps and lambda weights only for a model trained with a rate term."""
    return {
        key: np.ascontiguousarray(value.numpy().astype(np.float16))
        for key, value in tokenizer.state_dict().items()
        if not training_only(key) and (key not in NO_RATE or rated)
    }


def entropy_tensors(model: str) -> dict[str, np.ndarray]:
    """Tensors of the entropy model in the model called `model` or in that folder. Raises ModelError."""
    from safetensors.numpy import load_file

    tensors = load_file(find(model).folder / WEIGHTS)
    return {name: value for name, value in tensors.items() if name.startswith(("entropy.", "prior."))}


def _counted(
    tokenizer: Tokenizer, recipe: Recipe, data: tuple[str, ...], ladder: Sequence[LadderStep], report: Report
) -> dict[str, np.ndarray]:
    """Prepared tables, as tensors of the model file."""
    least = recipe.tokenizer.window_px or recipe.tokenizer.stride
    pictures = scan(data or recipe.data.train, least, recipe.data.index)
    report(f"counting indices over {len(pictures.members)} pictures")
    rates = list(dict.fromkeys(step.lmbda for step in ladder))
    found = prepared_tables(tokenizer, pictures, rates)
    return {f"entropy.tables.{s}": tables.astype(np.int32) for s, tables in enumerate(found)}


def make_ladder(recipe: Recipe) -> tuple[LadderStep, ...]:
    """Quality ladder, smallest files first: falling rates with all layers, or one more layer at each step.

    Rates need a run with a rate term. Quantizers without a fill have a single step, since all layers are needed.
    """
    quantizer, (first, last) = recipe.tokenizer.quantizer, recipe.export.quality
    planes = [len(layer) for layer in file_layers(recipe)]
    layers = len(planes)
    if recipe.codebook.rate:
        low, high = recipe.codebook.rate_range
        rates = recipe.export.rates or tuple(float(f"{rate:.3g}") for rate in np.geomspace(high, low, STEPS))
        # At high rates refinements seldom pay for their bits, and the overhead of their segments would add to that.
        coarse = list(accumulate(planes)).index(quantizer.groups) + 1 if recipe.export.refine_below else layers
        places = [(coarse if rate > recipe.export.refine_below else layers, rate) for rate in rates]
    else:
        places = [(keep, 1.0) for keep in range(layers if quantizer.fill == "none" else 1, layers + 1)]
    span = max(len(places) - 1, 1)
    qualities = [first + round(i * (last - first) / span) for i in range(len(places))]
    return tuple(LadderStep(q, keep, rate) for q, (keep, rate) in zip(qualities, places, strict=True))


def rates_of(config: ModelConfig) -> list[float]:
    """Rates of a model's quality ladder."""
    return list(dict.fromkeys(step.lmbda for step in config.ladder)) or [1.0]


def prepared_tables(
    tokenizer: Tokenizer, pictures: Pictures, rates: Sequence[float] = (1.0,), n_tables: int = TABLES
) -> list[np.ndarray]:
    """Integer tables [T, K] of each plane: clusters of the statistics of access tiles, with rates in turn."""
    tiles: list[list[np.ndarray]] = [[] for _ in tokenizer.sizes]
    for i, pixels in enumerate(pictures.decoded()):
        for planes in _tile_planes(tokenizer, pixels, rates[i % len(rates)]):
            for s, plane in enumerate(planes):
                tiles[s].append(plane.reshape(-1)[coding_order(plane.shape)])
    return [cluster_tables(symbols, size, n_tables) for symbols, size in zip(tiles, tokenizer.sizes, strict=True)]


@torch.no_grad()
def _tile_planes(tokenizer: Tokenizer, pixels: np.ndarray, rate: float) -> list[list[np.ndarray]]:
    found = []
    for part in cut(pixels, tokenizer.stride, tokenizer.config.window_px):
        x = to_unit(part[None])
        found.append([plane[0].numpy().astype(np.int32) for plane in tokenizer.encode(x, rate)])
    return found


def cluster_tables(tiles: list[np.ndarray], size: int, n_tables: int, rounds: int = 6) -> np.ndarray:
    """Tables [T, K] for symbol sequences: Lloyd's algorithm with the code length as distance.

    A tile is assigned to the table that codes it in the fewest bits, adaptation included; a table is the mean of its
    tiles.
    """
    counts = np.stack([np.bincount(tile, minlength=size) for tile in tiles]).astype(np.float64)
    share = (counts + 0.05) / (counts + 0.05).sum(1, keepdims=True)
    # Start: tiles evenly spaced in order of their own entropy, from flat skies to foliage.
    order = np.argsort(-(share * np.log2(share)).sum(1))
    start = order[np.linspace(0, len(order) - 1, n_tables).round().astype(int)]
    whole = counts.sum(0)
    tables = np.stack([table_from_counts(counts[i] + whole / whole.sum() * 200) for i in start])
    for _ in range(rounds):
        bits = np.stack([option_bits(tables, tile).reshape(n_tables, -1).min(1) for tile in tiles])
        choice = bits.argmin(1)
        for t in range(n_tables):
            mine = counts[choice == t].sum(0)
            tables[t] = table_from_counts(mine + whole / whole.sum() * 50)
    return tables


def _card(recipe: Recipe, config: ModelConfig, step: int) -> str:
    return "\n".join(
        [
            f"# {config.name}",
            "",
            recipe.description,
            "",
            f"Trained for {step} steps of {recipe.data.batch} crops of {recipe.data.crop} px with the recipe "
            f"`{recipe.name}`.",
            "",
            "```json",
            json.dumps(to_builtins(recipe), indent=1),
            "```",
            "",
        ]
    )
