"""Rows of inputs of the context network: positions of coded crops, drawn so that all parts have about as many.

The inputs of a position depend on coded values alone, so they are computed once and serve many steps. A row is one
position of a pass with an input other than 0. The layers of fine levels have most of the positions and keep a share of
them, a larger one where the value is not 0. All other positions of a pass have the same inputs, none, and are counted
by level, step and absolute value.

The weight of a row is that of its crop, the reciprocal of the crop's bits per pixel, divided by the share of such
positions that is kept: a sum over rows estimates relative bits, in which crops of all rates count alike.

Legend: n rows, F inputs, K neighbours in the band itself.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from msgspec import to_builtins
from torch import Tensor

from vqcodec.config.quantizers import UniformConfig
from vqcodec.entropy.scalar_known import SIZE, KnownValues
from vqcodec.entropy.scalar_order import AROUND, Band, LayerBands, Pass, inputs, layers_of
from vqcodec.errors import InputError, UsageError
from vqcodec.models.registry import find

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data.pictures import Pictures
from ..logs import Report
from .context_inputs import own_count, relative
from .encoded import EncodedCrop, encoded_crops
from .recipe import SteppedRecipe

Fields = dict[str, Tensor]
"""Columns of rows: value, level (its index in the layer), step, weight [n]; of detail bands sizes int8 [n, F], shape
int8 [n, F + 8], largest [n] and own [n, K], see `ContextPart`; of the low band neighbours [n, K]."""
LEAST_BPP = 0.02
"""Added to the bits per pixel of a crop: flat crops do not outweigh all others."""
LARGEST_QUIET = 20
"""Absolute values at positions without inputs are clamped to it."""
NONZERO = 4
"""Share of positions with a value other than 0 that are kept, relative to the others."""
WHOLE = torch.int16
"""Type of values and neighbours."""
ROWS = "rows.pt"
"""Name of the file of rows in a run's folder."""


class ContextRows:
    """Rows of each part (colour of a layer, in coding order) and kind of pass."""

    def __init__(self, levels: int, seed: int = 0) -> None:
        """`levels`: wavelet levels within a stride, see `ScalarContext`."""
        self.layers = layers_of(levels)
        self.parts = [(layer, colour) for layer in self.layers for colour in layer.colours]
        self.pixels = 0
        """Pixels of the crops."""
        self.random = np.random.default_rng(seed)
        self._found: dict[tuple[int, str], list[Fields]] = {}
        self._quiet: dict[tuple[int, str], Counter[tuple[int, int, int]]] = {}

    def add(self, crop: EncodedCrop, everything: bool = False) -> None:
        """Add the rows of a crop: all positions with `everything`, else a sample of them."""
        weight = 1 / (crop.bits / crop.pixels + LEAST_BPP)
        known = KnownValues(self.layers, (crop.values.shape[1], crop.values.shape[2]))
        ends = accumulate((layer.width for layer in self.layers), initial=0)
        bands: dict[Band, np.ndarray] = {}
        for layer, (start, end) in zip(self.layers, pairwise(ends), strict=True):
            bands |= layer.split(crop.values[start:end])
        for number, (layer, colour) in enumerate(self.parts):
            if colour == layer.colours[0]:
                known.begin_layer(layer)
            share = 1.0 if everything else kept_share(layer)
            for part in layer.passes(colour):
                targets = np.ascontiguousarray(part.of(bands[part.band]))
                if targets.size:
                    self._add_pass(known, part, number, targets.reshape(-1), crop.step, weight, share)
                    known.fill(part, targets)
        self.pixels += crop.pixels

    def _add_pass(
        self, known: KnownValues, part: Pass, number: int, targets: np.ndarray, step: int, weight: float, share: float
    ) -> None:
        """Add the rows of a pass of part `number`, whose values are `targets` [n], with the `weight` of the crop.

        `share` of the zeros are kept.
        """
        level = self.parts[number][0].level_numbers.index(part.band.level)
        n_inputs = len(inputs(part.band.colour, part.band.name, part.number))
        low = part.band.name == "low"
        at = np.arange(len(targets)) if low else known.active(part)
        weights = np.full(len(at), weight)
        if not low:
            quiet = targets.copy()
            quiet[at] = 0
            others = np.abs(quiet[quiet != 0]).clip(max=LARGEST_QUIET).tolist()
            counts = self._quiet.setdefault((number, part.kind), Counter())
            counts[level, step, 0] += weight * (len(targets) - len(at) - len(others))  # type: ignore[assignment]
            for size in others:
                counts[level, step, size] += weight  # type: ignore[assignment]
            # Values other than 0 have most of the bits.
            shares = np.where(targets[at] != 0, min(1.0, NONZERO * share), share)
            kept = self.random.random(len(at)) < shares
            at, weights = at[kept], (weights / shares)[kept]
        if not len(at):
            return
        values = np.empty((n_inputs if low else n_inputs + len(AROUND), len(at)), np.float32)
        sizes = np.empty((n_inputs, len(at)), np.float32)
        known.gather(part, at, values, sizes)
        x = torch.from_numpy(values.T)
        if low:
            fields = {"neighbours": x.to(WHOLE)}
        else:
            shape, largest = relative(x)
            fields = {"sizes": torch.from_numpy(np.rint(sizes.T / SIZE).astype(np.int8)), "shape": shape.to(torch.int8)}
            fields |= {"largest": largest.to(WHOLE), "own": x[:, : own_count(part)].to(WHOLE)}
        n = len(at)
        fields |= {
            "value": torch.from_numpy(targets[at]).to(WHOLE),
            "level": torch.full((n,), level, dtype=torch.uint8),
        }
        fields |= {"step": torch.full((n,), step, dtype=torch.uint8), "weight": torch.from_numpy(weights).float()}
        self._found.setdefault((number, part.kind), []).append(fields)

    def finish(self) -> None:
        """Join the rows of all crops and shuffle them, so that consecutive ones are a sample."""
        for key, pieces in self._found.items():
            joined = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
            order = torch.from_numpy(self.random.permutation(len(joined["value"])))
            self._found[key] = [{name: column[order] for name, column in joined.items()}]

    def save(self, path: Path, key: str) -> None:
        """Write the finished rows and `key`, which tells what they were made from. Raises OSError."""
        quiet = {key: dict(counts) for key, counts in self._quiet.items()}
        write_checkpoint(path, {"key": key, "pixels": self.pixels, "rows": self._found, "quiet": quiet})

    def load(self, path: Path, key: str) -> None:
        """Read finished rows. Raises InputError for a damaged file and for one with another `key`."""
        state = read_checkpoint(path)
        if state.get("key") != key:
            raise InputError(f"{path}: rows of other settings, pictures or weights; delete it, or name another folder")
        self.pixels, self._found = state["pixels"], state["rows"]
        self._quiet = {key: Counter(counts) for key, counts in state["quiet"].items()}

    def of(self, number: int) -> dict[str, Fields]:
        """Rows of a part by kind of pass, after `finish`."""
        return {kind: pieces[0] for (part, kind), pieces in self._found.items() if part == number}

    def quiet(self, number: int) -> dict[str, Fields]:
        """Positions of a part without inputs, by kind of pass: level, step, absolute value and their total weight."""
        found = {}
        for (part, kind), counts in self._quiet.items():
            if part == number:
                levels, steps, sizes = (torch.tensor(column) for column in zip(*counts, strict=True))
                weights = torch.tensor([float(weight) for weight in counts.values()])
                found[kind] = {"level": levels, "step": steps, "value": sizes.float(), "weight": weights}
        return found


def kept_share(layer: LayerBands) -> float:
    """Share of a layer's positions with a value of 0 that are kept."""
    return min(1.0, 2.0 * 3.6 ** -((layer.number + 1) // 2))


def rows_of(
    pictures: Pictures, recipe: SteppedRecipe, folder: Path, damaged: dict[str, str], report: Report
) -> ContextRows:
    """Rows of crops that the encoder of `recipe.encoded.model` codes; kept in `folder` for a resumed run.

    Pictures that cannot be decoded are added to `damaged`. Raises ModelError for a model that is not installed,
    UsageError for one with another quantizer, InputError where no picture is left or stored rows are of other settings.
    """
    stored = folder / ROWS
    entry = find(recipe.encoded.model)
    quantizer = recipe.tokenizer.quantizer
    assert isinstance(quantizer, UniformConfig)
    if entry.config.tokenizer.quantizer != quantizer:
        raise UsageError(f"recipe.encoded.model: '{recipe.encoded.model}' has another quantizer than the recipe")
    rows = ContextRows(quantizer.levels, recipe.run.seed)
    made_from = recipe.encoded, recipe.rate.steps, recipe.run.seed, recipe.data.train, entry.config.weights_sha256
    key = json.dumps(to_builtins(made_from))
    if stored.exists():
        rows.load(stored, key)
        report(f"{stored}: rows of {rows.pixels / 1e6:,.0f} megapixels")
        return rows
    for crop in encoded_crops(pictures, recipe.encoded, recipe.rate, recipe.run.seed, damaged):
        rows.add(crop)
    if not rows.pixels:
        raise InputError(f"{', '.join(recipe.data.train)}: no picture that can be decoded")
    rows.finish()
    folder.mkdir(parents=True, exist_ok=True)
    rows.save(stored, key)
    report(f"{recipe.encoded.model}: coded {rows.pixels / 1e6:,.0f} megapixels, rows in {stored}")
    return rows
