"""Context model in floats, with gradients: twin of `vqcodec.entropy.context_model`, which reads its integers.

The positions of a plane are coded in passes over one or more grids (index_order.py). For a position, with e the
embedding of an index (8 numbers), A the 3x3 neighbourhood in the planes before and O the 5x5 neighbourhood in the plane
itself, on the grid of the pass, as far as earlier passes have coded it,

    h1 = clamp(W_around e(A) + W_own e(O) + b1[pass])
    h2 = clamp(h1 + W_hidden h1 + b2)
    P(index) = 2^logits / sum 2^logits        logits = W_out h2 + b3[pass]

clamp is to 0..127/16. Embeddings, activations and logits are multiples of 1/16 once the network is rounded; a row of
weights is a multiple of 2^-shift that fits an int8 (`row_shift`). The integer model gathers neighbourhoods position by
position; here the same sums are two convolutions. The loss is -log2 P(index), bits.

Legend: n tiles or crops, S planes, h w grid with a margin (`Prior.margin`) that holds the outside index, N positions, C
passes, R grids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.entropy.alphabet_split import AlphabetSplit, split_by_similarity
from vqcodec.entropy.context_inputs import EMBEDDING, OWN, inputs_from_earlier, margin_of
from vqcodec.entropy.context_model import ContextModel, lookup_table
from vqcodec.entropy.index_order import Pass, passes

UNIT = 16.0
"""Units of activations, embeddings and logits: multiples of 1 / UNIT."""
TOP = 127 / UNIT
"""Largest activation."""
MAX_SHIFT = 12
"""Largest number of fractional bits of a weight."""


def rounded(x: Tensor, unit: float | Tensor) -> Tensor:
    """x rounded to multiples of 1 / unit, with a straight-through gradient."""
    return x + (torch.round(x * unit) / unit - x).detach()


def row_shift(weights: Sequence[Tensor]) -> Tensor:
    """Fractional bits [rows] with which the largest weight of each output row fills an int8."""
    largest = torch.stack([w.detach().abs().flatten(1).amax(1) for w in weights if w.numel()]).amax(0)
    return torch.floor(torch.log2(127 / largest.clamp_min(1e-6))).clamp(0, MAX_SHIFT)


class PlanePrior(nn.Module):
    """Float twin of `entropy.context_kernels.PlaneNet` for plane s; weights [out, in].

    `own` is [units, in] for all grids, or with `own_by_grid` [R, units, in], finest grid first.
    """

    def __init__(self, s: int, size: int, units: int, near: int, grids: int = 1, own_by_grid: bool = False) -> None:
        super().__init__()
        self.s, self.size, self.first = s, size, max(0, s - near)
        self.passes, self.margin = passes(grids), margin_of(grids)
        seen, own = EMBEDDING * len(inputs_from_earlier(s, near)), EMBEDDING * len(OWN)
        self.embedding = nn.Parameter(torch.randn(size + 2, EMBEDDING))
        self.around = nn.Parameter(torch.randn(units, seen) / math.sqrt(seen + own))
        start = torch.randn(units, own) / math.sqrt(seen + own)
        self.own = nn.Parameter(start.repeat(grids, 1, 1) if own_by_grid else start)
        self.bias1 = nn.Parameter(torch.full((len(self.passes), units), 0.5))
        self.hidden = nn.Parameter(torch.randn(units, units) / math.sqrt(units))
        self.bias2 = nn.Parameter(torch.zeros(units))
        self.out = nn.Parameter(torch.randn(size, units) * 0.02)
        self.bias3 = nn.Parameter(torch.zeros(len(self.passes), size))
        self.quantized = False

    def embed(self, codes: Tensor) -> Tensor:
        """codes [n, h, w] -> [n, h, w, 8]."""
        table = self.embedding.clamp(-TOP, TOP)
        return F.embedding(codes, rounded(table, UNIT) if self.quantized else table)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights around, own, hidden, out; rounded once `quantized`."""
        if not self.quantized:
            return self.around, self.own, self.hidden, self.out
        unit1 = torch.exp2(row_shift(self._first_layer()))[:, None]
        units = [unit1, unit1, *(torch.exp2(row_shift([w]))[:, None] for w in (self.hidden, self.out))]
        four = (self.around, self.own, self.hidden, self.out)
        around, own, hidden, out = (rounded(w, unit) for w, unit in zip(four, units, strict=True))
        return around, own, hidden, out

    def _first_layer(self) -> list[Tensor]:
        """Weights of the first layer, [units, in] each."""
        return [self.around, *(self.own if self.own.dim() == 3 else [self.own])]

    def bits(self, codes: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """codes [n, h, w] of this plane, embedded planes before it [n, h', w', 8] -> bits [N], pass by pass.

        Positions outside have 0 bits.
        """
        w_around, w_own, w_hidden, w_out = self.weights()
        h, w = (side - 2 * self.margin for side in codes.shape[1:])
        around = self._around(w_around, maps, h, w) if maps else None
        kernels = [_own_kernel(weights) for weights in (w_own if w_own.dim() == 3 else [w_own])]
        embedded = self.embed(codes)
        unknown = self.embed(torch.tensor(self.size, device=codes.device))
        inputs, targets, counts, shown = [], [], [], []
        for p, (y, x, spacing, grid) in enumerate(self.passes):
            if y >= h or x >= w:
                continue
            known = _known(codes, self.passes[:p], self.size)
            seen = torch.where(known[..., None], embedded, unknown)
            first, end = self.margin - 2 * spacing, self.margin + 2 * spacing  # 5x5 positions of the pass's grid
            seen = seen[:, first + y : end + h, first + x : end + w].permute(0, 3, 1, 2)
            kernel = kernels[min(grid, len(kernels) - 1)]
            sums = F.conv2d(seen, kernel, self.bias1[p], stride=2 * spacing, dilation=spacing)
            if around is not None:
                sums = sums + around[:, :, y :: 2 * spacing, x :: 2 * spacing]
            inputs.append(sums.permute(0, 2, 3, 1).flatten(0, 2))
            inside = codes[:, self.margin : self.margin + h, self.margin : self.margin + w]
            targets.append(inside[:, y :: 2 * spacing, x :: 2 * spacing].flatten())
            counts.append(len(targets[-1]))
            shown.append(p)
        h1 = self._activation(torch.cat(inputs))
        inner = F.linear(h1, w_hidden, self.bias2)
        h2 = (h1 + (rounded(inner, UNIT) if self.quantized else inner)).clamp(0, TOP)
        parts = F.linear(h2, w_out).split(counts)
        logits = torch.cat([part + self.bias3[p] for part, p in zip(parts, shown, strict=True)]).float()
        if self.quantized:
            logits = rounded(logits, UNIT)
        target = torch.cat(targets)
        target = torch.where(target < self.size, target, -1)
        return F.cross_entropy(logits * math.log(2), target, reduction="none", ignore_index=-1) / math.log(2)

    def _around(self, weights: Tensor, maps: Sequence[Tensor], h: int, w: int) -> Tensor:
        """Contribution of the planes before to the first layer, [n, H, h, w]."""
        near = len(maps) - self.first
        wide, narrow = weights.split([9 * EMBEDDING * near, EMBEDDING * self.first], 1)
        wide = wide.unflatten(1, (9, near, EMBEDDING))
        total: Tensor | int = 0
        for places in _by_shape(maps):
            close, far = [t for t in places if t >= self.first], [t for t in places if t < self.first]
            sums: Tensor | int = 0
            if close:
                kernel = wide[:, :, [t - self.first for t in close]].flatten(1)
                near_by = _stacked([maps[t] for t in close])
                outer = self.margin - 1  # the 5x5 neighbourhood alone sees further out
                sums = F.conv2d(near_by[:, :, outer:-outer, outer:-outer], _as_kernel(kernel, 3))
            if far:
                kernel = narrow.unflatten(1, (self.first, EMBEDDING))[:, far].flatten(1)
                margin = self.margin
                inside = _stacked([maps[t] for t in far])[:, :, margin:-margin, margin:-margin]
                sums = sums + F.conv2d(inside, _as_kernel(kernel, 1))
            height, width = (side - 2 * self.margin for side in maps[places[0]].shape[1:3])
            if (height, width) != (h, w):
                rows, columns = torch.arange(h) * height // h, torch.arange(w) * width // w
                sums = sums[:, :, rows][:, :, :, columns]  # type: ignore[index]
            total = total + sums
        assert isinstance(total, Tensor)
        return total

    def _activation(self, x: Tensor) -> Tensor:
        """x clamped to 0..127/16; a multiple of 1/16 once quantized."""
        return (rounded(x, UNIT) if self.quantized else x).clamp(0, TOP)

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """Integer tensors of `entropy.context_model.ContextModel`, matrices as [in, out]."""
        shift1, shift2, shift3 = (row_shift(w) for w in (self._first_layer(), [self.hidden], [self.out]))

        def matrix(w: Tensor, shift: Tensor) -> np.ndarray:
            return torch.round(w * torch.exp2(shift)[:, None]).clamp(-127, 127).T.contiguous().numpy().astype(np.int8)

        def bias(b: Tensor, shift: Tensor) -> np.ndarray:
            # Half a unit added before the floor rounds to nearest.
            scale = torch.exp2(shift)
            return (torch.round(b * UNIT * scale) + torch.floor(scale / 2)).numpy().astype(np.int32)

        found = {
            "embedding": torch.round(self.embedding.clamp(-TOP, TOP) * UNIT).numpy().astype(np.int8),
            "around": matrix(self.around, shift1),
            "own": np.concatenate([matrix(w, shift1) for w in self._first_layer()[1:]]),
            "bias1": bias(self.bias1, shift1),
            "shift1": shift1.numpy().astype(np.uint8),
            "hidden": matrix(self.hidden, shift2),
            "bias2": bias(self.bias2, shift2),
            "shift2": shift2.numpy().astype(np.uint8),
            "out": matrix(self.out, shift3),
            "bias3": bias(self.bias3, shift3),
            "shift3": shift3.numpy().astype(np.uint8),
        }
        return {f"prior.{self.s}.{name}": value for name, value in found.items()}


class Prior(nn.Module):
    """One PlanePrior per coded plane, with 3x3 contexts in the `near` planes before it, one position in earlier ones.

    Planes of large alphabets are coded as two, by `splits`; the default splits by the index's number. Planes are coded
    over `grids` grids; the coded planes `own_by_grid` have weights of their own surroundings for each grid.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        units: int = 112,
        near: int | None = None,
        splits: Sequence[AlphabetSplit] | None = None,
        grids: int = 1,
        own_by_grid: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.sizes, self.near, self.grids = tuple(sizes), near, grids
        self.margin = margin_of(grids)
        """Positions around a plane that stand for the outside of the tile."""
        self.splits = [split_by_similarity(size) for size in sizes] if splits is None else list(splits)
        self.coded_sizes = tuple(size for split in self.splits for size in split.sizes)
        everything = len(self.coded_sizes)
        self.planes = nn.ModuleList(
            PlanePrior(s, size, units, everything if near is None else near, grids, s in own_by_grid)
            for s, size in enumerate(self.coded_sizes)
        )

    @classmethod
    def of(cls, model: ContextModel) -> Prior:
        """The float network of a context model."""
        near = None if model.near == len(model.nets) else model.near
        own_by_grid = [s for s, net in enumerate(model.nets) if len(net.own) > 1]
        prior = cls(model.sizes, len(model.nets[0].bias2), near, model.splits, model.grids, own_by_grid)
        prior.go_on_from(model)
        return prior

    def nets(self) -> Iterator[PlanePrior]:
        """The networks of the planes, in order."""
        for net in self.planes:
            assert isinstance(net, PlanePrior)
            yield net

    def parts(self, tile: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """Planes of a tile -> coded planes."""
        return [part for split, plane in zip(self.splits, tile, strict=False) for part in split.divide(plane)]

    def padded(self, tile: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """Planes of a tile -> coded planes, int64 with a margin, as `forward` takes them.

        Planes that the tile lacks hold the outside index everywhere.
        """
        parts = self.parts(tile)
        left_out = [np.full(np.shape(tile[0]), size + 1) for size in self.coded_sizes[len(parts) :]]
        return [
            with_margin(part, size, self.margin)
            for part, size in zip([*parts, *left_out], self.coded_sizes, strict=True)
        ]

    def forward(self, codes: Sequence[Tensor], chosen: Sequence[bool] | None = None) -> list[Tensor]:
        """Planes [n, h, w] with the margin, K + 1 for the outside -> bits [N] of each, pass by pass.

        Planes that are not `chosen` (default: all are) have no bits, [0].
        """
        bits: list[Tensor] = []
        maps: list[Tensor] = []
        for s, (plane, net) in enumerate(zip(codes, self.nets(), strict=True)):
            embedded = net.embed(plane)
            bits.append(net.bits(plane, maps) if chosen is None or chosen[s] else embedded.new_zeros(0))
            maps.append(embedded)
        return bits

    @torch.no_grad()
    def go_on_from(self, model: ContextModel) -> None:
        """Set the network from `model`, before training. Raises ValueError for other units, `near` or splits.

        A model of fewer grids: the further ones start with the biases and weights of its coarsest one.
        """

        def weights(values: np.ndarray, scale: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray((values * scale).swapaxes(-1, -2)))

        def bias(values: np.ndarray, scale: np.ndarray) -> Tensor:
            return torch.from_numpy((values - np.floor(0.5 / scale)) * scale / np.float32(UNIT))

        if len(model.nets) != len(self.planes) or (self.near or len(model.nets)) != model.near:
            raise ValueError("its context model sees other planes")
        for net, own in zip(model.nets, self.nets(), strict=True):
            found = {
                "embedding": torch.from_numpy(net.embedding / np.float32(UNIT)),
                "around": weights(net.around, net.scale1),
                "own": weights(net.own, net.scale1),
                "bias1": bias(net.bias1, net.scale1),
                "hidden": weights(net.hidden, net.scale2),
                "bias2": bias(net.bias2, net.scale2),
                "out": weights(net.out, net.scale3),
                "bias3": bias(net.bias3, net.scale3),
            }
            for name, value in found.items():
                parameter: Tensor = getattr(own, name)
                if name in ("bias1", "bias3") and model.grids < self.grids:
                    value = torch.cat([value[:4], value[1:4].repeat(self.grids - model.grids, 1), value[4:]])
                if name == "own" and parameter.dim() == 2 and len(value) == 1:
                    value = value[0]
                elif name == "own" and len(value) < len(parameter):
                    value = torch.cat([value, value[-1:].repeat(len(parameter) - len(value), 1, 1)])
                if parameter.shape != value.shape:
                    raise ValueError(
                        f"its context model has {list(value.shape)} for {name}, not {list(parameter.shape)}"
                    )
                parameter.copy_(value)

    @torch.no_grad()
    def start_from(self, counts: Sequence[np.ndarray]) -> None:
        """Set the biases so that indices of a coded plane have the frequencies `counts` [K], before training."""
        for use, net in zip(counts, self.nets(), strict=True):
            logits = torch.from_numpy(np.log2(use + 0.5)).float()
            net.bias3.copy_(logits - logits.amax())

    def tensors(self) -> dict[str, np.ndarray]:
        """All `prior.*` tensors of a model file."""
        found: dict[str, np.ndarray] = {"prior.lut": lookup_table(max(self.coded_sizes)).astype(np.int32)}
        if any(split.low for split in self.splits):
            found["prior.split"] = np.array([split.low for split in self.splits], np.int32)
            for s, split in enumerate(self.splits):
                if split.low:
                    found[f"prior.rank.{s}"] = split.rank.astype(np.int32)
        if self.near is not None:
            found["prior.near"] = np.array([self.near], np.int32)
        if self.grids > 1:
            found["prior.grids"] = np.array([self.grids], np.int32)
        for net in self.nets():
            found.update(net.tensors())
        check = np.frombuffer(ContextModel(self.sizes, found).check(), np.uint8)
        return {**found, "prior.check": check}


def with_margin(plane: np.ndarray, size: int, margin: int) -> np.ndarray:
    """[h, w] or [L] -> int64 plane with `margin` positions of `size` + 1, outside; MISSING becomes `size`, unknown."""
    codes = np.atleast_2d(plane).astype(np.int64)
    return np.pad(np.where(codes < 0, size, codes), margin, constant_values=size + 1)


def _known(codes: Tensor, done: Sequence[Pass], size: int) -> Tensor:
    """Mask, bool as codes [n, h, w]: True for codes known after the passes `done`, and for the outside.

    The margin of a crop holds symbols of its tile. It is as wide as a cell of the coarsest grid, so that the passes
    continue there.
    """
    known = codes > size
    for earlier in done:
        known[:, *earlier.positions] = True
    return known


def _by_shape(maps: Sequence[Tensor]) -> Iterator[list[int]]:
    """Numbers of the maps of each shape."""
    shapes = [m.shape[1:3] for m in maps]
    for shape in dict.fromkeys(shapes):
        yield [t for t, other in enumerate(shapes) if other == shape]


def _stacked(maps: Sequence[Tensor]) -> Tensor:
    """[n, h, w, 8] each -> [n, 8 * len(maps), h, w]."""
    return torch.cat(list(maps), -1).permute(0, 3, 1, 2)


def _as_kernel(weights: Tensor, side: int) -> Tensor:
    """[H, side * side * C] -> [H, C, side, side]."""
    return weights.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)


def _own_kernel(weights: Tensor) -> Tensor:
    """Weights of the plane's own surroundings [H, 24 * 8] -> [H, 8, 5, 5], 0 for the position itself."""
    half = weights.shape[1] // 2
    centre = weights.new_zeros(len(weights), EMBEDDING)
    return _as_kernel(torch.cat([weights[:, :half], centre, weights[:, half:]], 1), 5)
