"""Context models with random weights, their inputs, and recorders of their frequencies."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch

from vqcodec.entropy.context_kernels import ExactKernel, PlaneNet
from vqcodec.entropy.context_model import ContextModel
from vqcodec.train.prior.train_prior import Prior

SIZES = (16, 16, 8)


LAYERS = [[0], [1], [2]]


def a_prior(seed: int = 0, spread: float = 4.0, grids: int = 1) -> Prior:
    """Random weights, large enough for peaked frequencies; with several grids, plane 1 has weights for each."""
    torch.manual_seed(seed)
    prior = Prior(SIZES, units=32, grids=grids, own_by_grid=(1,) if grids > 1 else ())
    with torch.no_grad():
        for net in prior.planes:
            net.out.mul_(20 * spread)
            net.bias1.normal_()
            if net.own.dim() == 3:
                net.own.normal_(std=0.1)
            net.bias3.normal_()
    return prior


def some_tiles(seed: int, shapes: list[tuple[int, int]]) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[rng.integers(0, k, shape).astype(np.int32) for k in SIZES] for shape in shapes]


class Recorder:
    """A coder that stores the frequencies."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        self.rows.append(rows.copy())

    def end_layer(self) -> None:
        """Do nothing."""


def frequencies(model: ContextModel, tiles: list[list[np.ndarray]]) -> list[np.ndarray]:
    """All frequencies of each tile."""
    coders = [Recorder() for _ in tiles]
    model.code_tiles(coders, copy.deepcopy(tiles), LAYERS)  # type: ignore[arg-type]
    return [np.concatenate([rows.ravel() for rows in coder.rows]) for coder in coders]


def with_nets(model: ContextModel, change: object) -> ContextModel:
    other = copy.copy(model)
    other.nets = [change(net) for net in model.nets]  # type: ignore[operator]
    return with_kernels(other, ExactKernel)


def with_kernels(model: ContextModel, kind: object) -> ContextModel:
    other = copy.copy(model)
    other.kernels = [[kind(net, model.lut, own) for own in net.own] for net in other.nets]  # type: ignore[operator]
    other.is_chosen = True
    return other


def in_float64(net: PlaneNet) -> PlaneNet:
    return PlaneNet(**{f.name: getattr(net, f.name).astype(np.float64) for f in dataclasses.fields(net)})


GOLDEN_SHAPE = (5, 6)


GOLDEN_PLANES = [np.arange(30, dtype=np.int32).reshape(GOLDEN_SHAPE) * a // 3 % 5 for a in (4, 7)]


def golden_tensors(planes: int = 2, near: int | None = None, grids: int = 1) -> dict[str, np.ndarray]:
    """A model of planes of 5 indices with 4 hidden units; the numbers of RandomState never change.

    With several grids, the last plane has weights of its own for each.
    """
    rng = np.random.RandomState(0)
    tensors = {"prior.lut": np.maximum(1, (2**24 // 5 >> np.arange(256) // 16) - 3 * np.arange(256))}
    if near is not None:
        tensors["prior.near"] = np.array([near])
    if grids > 1:
        tensors["prior.grids"] = np.array([grids])
    for s in range(planes):
        seen = 9 * min(s, planes if near is None else near) + max(0, s - (planes if near is None else near))
        sets, passes = grids if s == planes - 1 else 1, 3 * grids + 1
        sizes = {
            "embedding": ((7, 8), -127, 127), "around": ((8 * seen, 4), -20, 20), "own": ((sets * 192, 4), -20, 20),
            "bias1": ((passes, 4), -2000, 9000), "shift1": ((4,), 7, 9), "hidden": ((4, 4), -90, 90),
            "bias2": ((4,), -3000, 3000), "shift2": ((4,), 6, 8), "out": ((4, 5), -90, 90),
            "bias3": ((passes, 5), -3000, 3000), "shift3": ((5,), 6, 8),
        }  # fmt: skip
        for name, (shape, low, high) in sizes.items():
            tensors[f"prior.{s}.{name}"] = rng.randint(low, high + 1, shape).astype(np.int32)
    return tensors
