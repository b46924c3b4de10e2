"""Training of the context model in `vqcodec.entropy.prior`: in floats first, then as the integers it will be.

All planes of a tile are coded as in a file: four passes over a quarter of the grid, contexts that stop at the tile's
border. The loss is bits per index.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.entropy.prior import AROUND, EMBEDDING, OWN, ContextModel, lookup_table
from vqcodec.entropy.scan import PASSES
from vqcodec.errors import OutputError
from vqcodec.registry import Model, load_model

from .export import rates_of
from .pictures import Pictures, scan


@dataclass(frozen=True)
class PriorRecipe:
    """How a context model is fitted to the indices of a frozen tokenizer."""

    model: str
    """Name or folder of the model whose entropy model is replaced."""
    train: tuple[str, ...]
    """Folders, tar shards or patterns of these."""
    steps: int
    units: int = 112
    """Hidden units of each plane's network."""
    batch: int = 2
    """Access tiles a step."""
    lr: float = 2e-3
    quantized_share: float = 0.25
    """Share of the steps, the last ones, that train the network as the integers it will be."""
    seed: int = 0
    tile_px: int = 512


UNIT = 16.0
"""Activations, embeddings and logits are counted in sixteenths."""
TOP = 127 / UNIT
MAX_SHIFT = 12


def _round(x: Tensor, unit: float | Tensor) -> Tensor:
    """x to the nearest 1 / unit, gradient straight through."""
    return x + (torch.round(x * unit) / unit - x).detach()


def _row_shift(weights: list[Tensor]) -> Tensor:
    """Bits after the point [rows] that let the largest weight of each output row fill an int8."""
    largest = torch.stack([w.detach().abs().flatten(1).amax(1) for w in weights if w.numel()]).amax(0)
    return torch.floor(torch.log2(127 / largest.clamp_min(1e-6))).clamp(0, MAX_SHIFT)


class PlanePrior(nn.Module):
    """Float twin of `entropy.prior.PlaneNet` for plane s; weights [out, in]."""

    def __init__(self, s: int, size: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(size + 2, EMBEDDING))
        inputs = len(AROUND) * EMBEDDING * s + len(OWN) * EMBEDDING
        self.around = nn.Parameter(torch.randn(units, len(AROUND) * EMBEDDING * s) / math.sqrt(inputs))
        self.own = nn.Parameter(torch.randn(units, len(OWN) * EMBEDDING) / math.sqrt(inputs))
        self.bias1 = nn.Parameter(torch.full((len(PASSES), units), 0.5))
        self.hidden = nn.Parameter(torch.randn(units, units) / math.sqrt(units))
        self.bias2 = nn.Parameter(torch.zeros(units))
        self.out = nn.Parameter(torch.randn(size, units) * 0.02)
        self.bias3 = nn.Parameter(torch.zeros(len(PASSES), size))
        self.quantized = False

    def embed(self, codes: Tensor) -> Tensor:
        """codes [n, h, w] -> [n, h, w, 8]."""
        table = self.embedding.clamp(-TOP, TOP)
        return F.embedding(codes, _round(table, UNIT) if self.quantized else table)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """around, own, hidden, out: as they are, or as the integers they will be."""
        if not self.quantized:
            return self.around, self.own, self.hidden, self.out
        unit1 = torch.exp2(_row_shift([self.around, self.own]))[:, None]
        units = [unit1, unit1, *(torch.exp2(_row_shift([w]))[:, None] for w in (self.hidden, self.out))]
        four = (self.around, self.own, self.hidden, self.out)
        around, own, hidden, out = (_round(w, unit) for w, unit in zip(four, units, strict=True))
        return around, own, hidden, out

    def activation(self, x: Tensor) -> Tensor:
        """0..127/16, in sixteenths once quantized."""
        return (_round(x, UNIT) if self.quantized else x).clamp(0, TOP)

    def logits(self, p: int, own: Tensor, around: Tensor | None) -> Tensor:
        """Contexts of pass p, [m, 192] and [m, 72 s] -> logits [m, K] in bits."""
        w_around, w_own, w_hidden, w_out = self.weights()
        x = own @ w_own.T + self.bias1[p]
        if around is not None:
            x = x + around @ w_around.T
        h1 = self.activation(x)
        inner = h1 @ w_hidden.T + self.bias2
        h2 = (h1 + (_round(inner, UNIT) if self.quantized else inner)).clamp(0, TOP)
        logits = h2 @ w_out.T + self.bias3[p]
        return _round(logits, UNIT) if self.quantized else logits

    @torch.no_grad()
    def tensors(self, s: int) -> dict[str, np.ndarray]:
        """The integers `entropy.prior.ContextModel` reads, matrices as [in, out]."""
        shift1, shift2, shift3 = (_row_shift(w) for w in ([self.around, self.own], [self.hidden], [self.out]))

        def matrix(w: Tensor, shift: Tensor) -> np.ndarray:
            return torch.round(w * torch.exp2(shift)[:, None]).clamp(-127, 127).T.contiguous().numpy().astype(np.int8)

        def bias(b: Tensor, shift: Tensor) -> np.ndarray:
            # Half a unit before the floor makes it round to nearest.
            scale = torch.exp2(shift)
            return (torch.round(b * UNIT * scale) + torch.floor(scale / 2)).numpy().astype(np.int32)

        found = {
            "embedding": torch.round(self.embedding.clamp(-TOP, TOP) * UNIT).numpy().astype(np.int8),
            "around": matrix(self.around, shift1),
            "own": matrix(self.own, shift1),
            "bias1": bias(self.bias1, shift1),
            "shift1": shift1.numpy().astype(np.uint8),
            "hidden": matrix(self.hidden, shift2),
            "bias2": bias(self.bias2, shift2),
            "shift2": shift2.numpy().astype(np.uint8),
            "out": matrix(self.out, shift3),
            "bias3": bias(self.bias3, shift3),
            "shift3": shift3.numpy().astype(np.uint8),
        }
        return {f"prior.{s}.{name}": value for name, value in found.items()}


class Prior(nn.Module):
    """One PlanePrior per plane."""

    def __init__(self, sizes: tuple[int, ...], units: int = 112) -> None:
        super().__init__()
        self.sizes = sizes
        self.planes = nn.ModuleList(PlanePrior(s, size, units) for s, size in enumerate(sizes))

    def forward(self, codes: Tensor) -> list[Tensor]:
        """codes [n, S, h, w] of whole tiles -> bits [n * h * w] of each plane, in coding order."""
        n, _, h, w = codes.shape
        bits, maps = [], []
        for s, net in enumerate(self.planes):
            own = F.pad(codes[:, s], (2, 2, 2, 2), value=self.sizes[s] + 1)
            around = _gather(torch.cat(maps, -1), AROUND, h, w, 0, 0, 1) if s else None
            found = []
            for p, (y, x) in enumerate(PASSES):
                known = _known_before(p, h, w)
                visible = F.pad(torch.where(known, codes[:, s], self.sizes[s]), (2, 2, 2, 2), value=self.sizes[s] + 1)
                context = _gather(net.embed(visible), OWN, h, w, y, x, 2)
                before = None if around is None else around[:, y::2, x::2].flatten(0, 2)
                logits = net.logits(p, context.flatten(0, 2), before)
                target = codes[:, s, y::2, x::2].flatten()
                found.append(F.cross_entropy(logits * math.log(2), target, reduction="none") / math.log(2))
            bits.append(torch.cat(found))
            maps.append(net.embed(own))
        return bits

    def tensors(self) -> dict[str, np.ndarray]:
        """All `prior.*` tensors of a model file."""
        found: dict[str, np.ndarray] = {"prior.lut": lookup_table(max(self.sizes)).astype(np.int32)}
        for s, net in enumerate(self.planes):
            found.update(net.tensors(s))
        check = np.frombuffer(ContextModel(self.sizes, found).check(), np.uint8)
        return {**found, "prior.check": check}


def _known_before(p: int, h: int, w: int) -> Tensor:
    """Positions [h, w] coded in passes before p."""
    known = torch.zeros(h, w, dtype=torch.bool)
    for y, x in PASSES[:p]:
        known[y::2, x::2] = True
    return known


def _gather(padded: Tensor, offsets: list[tuple[int, int]], h: int, w: int, y: int, x: int, step: int) -> Tensor:
    """As `entropy.prior._context`: [n, h + 4, w + 4, C] -> [n, h', w', len(offsets) * C]."""
    return torch.cat(
        [padded[:, 2 + y + dy : 2 + h + dy : step, 2 + x + dx : 2 + w + dx : step] for dy, dx in offsets], -1
    )


def collect_tiles(model: Model, pictures: Pictures, tile: int) -> list[np.ndarray]:
    """Index planes uint16 [S, h, w] of all tiles (`tile` steps a side) of the pictures.

    Where codewords are chosen by a rate, one picture after the other takes the next rate of the ladder.
    """
    from vqcodec.compute import pixels_to_planes

    rates = rates_of(model.config)
    tiles = []
    for i, pixels in enumerate(pictures.decoded()):
        planes = np.stack(pixels_to_planes(model, pixels, rate=rates[i % len(rates)])).astype(np.uint16)
        for y in range(0, planes.shape[1], tile):
            for x in range(0, planes.shape[2], tile):
                tiles.append(planes[:, y : y + tile, x : x + tile])
    return tiles


def train_prior(
    tiles: list[np.ndarray], sizes: tuple[int, ...], recipe: PriorRecipe, report: Callable[[str], None] = print
) -> Prior:
    """Fit a prior to index planes [S, h, w]; the last `quantized_share` of the steps train the rounded network."""
    steps, batch, lr, seed = recipe.steps, recipe.batch, recipe.lr, recipe.seed
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    prior = Prior(sizes, recipe.units)
    optimizer = torch.optim.Adam(prior.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)
    weights = np.array([tile[0].size for tile in tiles], dtype=np.float64) ** 0.75
    weights /= weights.sum()
    total = torch.zeros(len(sizes))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        if step == int(steps * (1 - recipe.quantized_share)):
            for net in prior.planes:
                net.quantized = True
        per_plane = [torch.zeros(())] * len(sizes)
        for index in rng.choice(len(tiles), batch, p=weights):
            codes = torch.from_numpy(_crop(tiles[index], rng).astype(np.int64))[None]
            per_plane = [a + b.mean() / batch for a, b in zip(per_plane, prior(codes), strict=True)]
        loss = torch.stack(per_plane).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        total += torch.stack(per_plane).detach()
        if (step + 1) % 100 == 0:
            report(
                f"step {step + 1}: {total.mean() / 100:.3f} bits per index  "
                + " ".join(f"{v / 100:.2f}" for v in total)
            )
            total.zero_()
    return prior


def _crop(tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop of at least half a tile: borders at other places. Codes have an orientation, so nothing is mirrored."""
    h, w = tile.shape[1:]
    y, x = (int(rng.integers(0, side // 2 + 1)) if rng.random() < 0.3 else 0 for side in (h, w))
    return np.ascontiguousarray(tile[:, y:, x:])


@torch.no_grad()
def bits_per_index(prior: Prior, tiles: list[np.ndarray]) -> np.ndarray:
    """Mean bits [S] of each plane over tiles."""
    total, count = np.zeros(len(prior.sizes)), 0
    for tile in tiles:
        bits = prior(torch.from_numpy(tile.astype(np.int64))[None])
        total += [float(b.sum()) for b in bits]
        count += tile[0].size
    return total / count


def add_prior(folder: Path, prior: Prior) -> None:
    """Replace the entropy model in a model folder; its token identity stays, its entropy identity changes."""
    from safetensors.numpy import load_file

    from vqcodec.registry import WEIGHTS, read_config, write_model

    tensors = load_file(folder / WEIGHTS)
    kept = {name: value for name, value in tensors.items() if not name.startswith(("entropy.", "prior."))}
    write_model(folder, read_config(folder), {**kept, **prior.tensors()})


def run_prior(recipe: PriorRecipe, out: Path, report: Callable[[str], None] = print) -> None:
    """Copy the recipe's model to folder `out` and give it a context model trained on the recipe's pictures.

    Raises ModelError, InputError for missing data, and OutputError if `out` exists.
    """
    if out.exists():
        raise OutputError(f"{out}: exists already; name another folder")
    model = load_model(recipe.model)
    pictures = scan(recipe.train, model.stride)
    report(f"{model.config.name}: indices of {len(pictures.members)} pictures")
    tiles = collect_tiles(model, pictures, recipe.tile_px // model.stride)
    prior = train_prior(tiles, model.entropy.sizes, recipe, report)
    shutil.copytree(model.entry.folder, out)
    add_prior(out, prior)
    report(f"{out}: {model.config.name} with a context model after {recipe.steps} steps")
