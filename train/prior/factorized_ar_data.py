"""Training data of the factorized autoregressive model: index planes of pictures, with the class of each picture.

Pictures may be cut to one size first, and several processes share the work of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from vqcodec.errors import InputError, UsageError
from vqcodec.inference.networks import pixels_to_planes
from vqcodec.models.loading import Model
from vqcodec.models.tensor_names import file_name
from vqcodec.tokenizer import BIT_COSTS

from ..data.cuts import resized_picture
from ..data.pictures import Member, Pictures
from .data import Tile, collect_tiles
from .recipe import PriorRecipe


@dataclass
class CentreCut(Pictures):
    """Pictures with the short side resized to `side` pixels and the centre cut out; unchanged for 0."""

    side: int = 0

    def decoded(self, members: list[Member] | None = None) -> Iterator[np.ndarray]:
        """RGB pixels uint8 [side, side, 3] of `members`, in order; see Pictures.decoded."""
        for pixels in super().decoded(members):
            if not self.side:
                yield pixels
                continue
            resized = resized_picture(pixels, self.side)
            y, x = ((length - self.side) // 2 for length in resized.shape[:2])
            yield np.ascontiguousarray(resized[y : y + self.side, x : x + self.side])


def class_names(pictures: Pictures) -> list[str]:
    """The classes of a data set, sorted: the first folder in the name of each picture, as in ImageNet's layout.

    Raises InputError for a picture outside any folder.
    """
    return sorted({_class_of(member) for member in pictures.members})


def _class_of(member: Member) -> str:
    parts = PurePosixPath(member.name.replace("\\", "/")).parts
    if len(parts) < 2:
        raise InputError(f"{member.name}: is in no folder that names its class; leave recipe.labels out")
    return parts[0]


def labelled_tiles(
    model: Model, pictures: Pictures, recipe: PriorRecipe, classes: Sequence[str], accelerator: Accelerator
) -> tuple[list[Tile], list[int]]:
    """Tiles of index planes and the class number of each tile in `classes`; no labels without classes.

    Process r of R takes every R-th picture; all get all tiles, in the order of the pictures.
    Raises InputError for a picture of another class.
    """
    number = {name: i for i, name in enumerate(classes)}
    tile, first, count = recipe.tile_px // model.stride, accelerator.process_index, accelerator.num_processes
    found: list[tuple[int, int, Tile]] = []
    for i, member in list(enumerate(pictures.members))[first::count]:
        label = 0
        if classes:
            if (name := _class_of(member)) not in number:
                raise InputError(f"{member.name}: class '{name}' is not one of the {len(classes)} of the training data")
            label = number[name]
        one = CentreCut([member], [], recipe.crop_px)
        found += [(i, label, planes) for planes in tiles_of(model, one, tile)]
        pictures.skipped += one.skipped
    if count > 1:
        found = sorted(gather_object(found), key=lambda entry: entry[0])
    return [planes for _, _, planes in found], [label for _, label, _ in found] if classes else []


def tiles_of(model: Model, pictures: Pictures, tile: int) -> list[Tile]:
    """Tiles as from `collect_tiles`, but computed on the device of `model` if it has no rate term."""
    costs = model.tensors.get(file_name(BIT_COSTS))
    if costs is not None and costs.any():
        return collect_tiles(model, pictures, tile)
    kind = np.int16 if max(model.entropy.sizes) < 2**15 else np.int32
    found: list[Tile] = []
    for pixels in pictures.decoded():
        planes = [plane.astype(kind) for plane in pixels_to_planes(model, pixels)]
        if model.config.tokenizer.window_px:
            found += [[plane[window] for plane in planes] for window in range(len(planes[0]))]
            continue
        height, width = planes[-1].shape
        for y in range(0, height, tile):
            found += [np.stack(planes)[:, y : y + tile, x : x + tile] for x in range(0, width, tile)]
    return found


class FactorizedArCrops:
    """Batches of crops with labels; `batch(step)` is this process's part of a function of (seed, step).

    Raises UsageError if no tile is a grid of `recipe.crop` positions a side with all `planes`.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        planes: int,
        recipe: PriorRecipe,
        labels: Sequence[int] = (),
        classes: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.recipe, self.classes, self.process, self.processes = recipe, classes, process, processes
        self.grids: list[np.ndarray] = []
        self.labels: list[int] = []
        for t, tile in enumerate(tiles):
            if len(tile) != planes or len({np.shape(plane) for plane in tile}) != 1:
                continue
            grid = np.asarray(tile)
            if grid.ndim == 3 and min(grid.shape[1:]) >= recipe.crop and grid.min() >= 0:
                self.grids.append(grid)
                self.labels.append(labels[t] if labels else classes)
        if not self.grids:
            raise UsageError(
                f"factorized-ar: no tile is a grid of {recipe.crop} positions a side or more with all planes"
            )

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Crops int64 [B, S, crop, crop] and labels int64 [B]; dropped labels are `classes` (classifier-free)."""
        recipe, side = self.recipe, self.recipe.crop
        rng = np.random.default_rng((recipe.seed, step))
        found, labels = [], []
        for t in rng.integers(0, len(self.grids), recipe.batch * self.processes):
            y, x = (int(rng.integers(0, length - side + 1)) for length in self.grids[t].shape[1:])
            found.append(self.grids[t][:, y : y + side, x : x + side])
            labels.append(self.labels[t])
        own = slice(self.process * recipe.batch, (self.process + 1) * recipe.batch)
        dropped = rng.random(len(labels)) < (recipe.label_dropout if self.classes else 0)
        numbers = np.where(dropped, self.classes, labels)[own].astype(np.int64)
        return torch.from_numpy(np.stack(found[own]).astype(np.int64)), torch.from_numpy(numbers)
