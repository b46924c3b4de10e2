"""Crops cut on the training device from decoded pictures in its memory, for a GPU that is faster than decoding.

Pictures are downscaled beforehand, to a few sizes that hold a crop, and a whole batch is cut at once.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.errors import InputError

from ..recipe.schema import DataRecipe
from .crops import Crops
from .cuts import resized_picture, side_range
from .device import send
from .order import Order
from .pictures import Member, Pictures

SIZES = 4
"""Downscaled sizes of a picture, evenly spaced down to `data.min_scale`; with `data.short_side` one more, evenly spaced
over its range."""


class ResidentCrops(Crops):
    """`Crops` in the memory of `device`: 3 bytes per pixel of the data set, about 9 with the downscaled sizes.

    Construction needs the same amount of the CPU's memory, or twice that if the CPU is the device.

    `batch(number)` is a pure function of (seed, number), the size of the global batch and the data set. Pictures that
    cannot be decoded are listed in `damaged`. Raises InputError if none can be decoded.
    """

    def __init__(
        self,
        pictures: Pictures,
        data: DataRecipe,
        seed: int,
        process: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(pictures, data, seed, process, processes)
        if data.short_side:
            low, high = side_range(data)
            scales = np.unique(np.linspace(low, high, SIZES + 1).round())
        else:
            scales = np.linspace(1, data.min_scale, SIZES + 1) if data.min_scale < 1 else np.ones(1)
        # Decoding and resizing release Python's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sizes = list(pool.map(lambda member: self._sizes(member, scales), self.members))
        whole = [i for i, found in enumerate(sizes) if found]
        if not whole:
            raise InputError("no picture could be decoded; check the training data")
        self.members = [self.members[i] for i in whole]
        self.order = Order(self.members, data.size_weight, seed, data.shares)
        # Arrays [picture, size]: first pixel, height and width; small pictures have fewer sizes.
        shapes = np.array([[sizes[i][min(k, len(sizes[i]) - 1)].shape[:2] for k in range(len(scales))] for i in whole])
        self.heights, self.widths = shapes[..., 0], shapes[..., 1]
        self.starts = np.zeros(self.heights.shape, np.int64)
        self.available = np.array([len(sizes[i]) for i in whole])
        parts, end = [], 0
        for place, i in enumerate(whole):
            for k in range(len(scales)):
                if k < len(sizes[i]):
                    self.starts[place, k] = end
                    parts.append(sizes[i][k].reshape(-1, 3))
                    end += len(parts[-1])
                else:
                    self.starts[place, k] = self.starts[place, k - 1]
        self.pixels = torch.empty((end, 3), dtype=torch.uint8, device=device)
        at = 0
        for part in parts:
            self.pixels[at : at + len(part)] = torch.from_numpy(part)
            at += len(part)
        self.inside = torch.arange(data.crop, device=device)

    def batch(self, number: int) -> Tensor:
        """This process's part of global batch `number`: uint8 [B, 3, crop, crop] on the device, channels last."""
        size, crop = self.data.batch, self.data.crop
        position = (number * self.processes + self.process) * size + np.arange(size)
        picture = np.array([self.order.at(int(p)) for p in position])
        rng = np.random.default_rng((self.seed, 1, number))
        part = slice(self.process * size, (self.process + 1) * size)
        chance = rng.random((4, size * self.processes))[:, part]
        if self.data.short_side:
            k = (chance[0] * self.available[picture]).astype(int)
        else:
            smaller = 1 + (2 * (chance[0] - 0.5) * (self.available[picture] - 1)).astype(int)
            k = np.where((chance[0] < 0.5) | (self.available[picture] == 1), 0, smaller)
        height, width = self.heights[picture, k], self.widths[picture, k]
        top, left = ((side - crop + 1) * c for side, c in ((height, chance[1]), (width, chance[2])))
        flip = chance[3] < 0.5
        corner = self.starts[picture, k] + top.astype(np.int64) * width + left.astype(np.int64)
        numbers = np.stack([corner + flip * (crop - 1), width, 1 - 2 * flip.astype(np.int64)])
        first, down, right = send(torch.from_numpy(numbers), self.inside.device)[:, :, None, None]
        return self.pixels[first + self.inside[:, None] * down + self.inside * right].permute(0, 3, 1, 2)

    def _sizes(self, member: Member, scales: np.ndarray) -> list[np.ndarray]:
        """The picture and its downscaled sizes that hold a crop, uint8 [H, W, 3] each; empty if it is damaged."""
        try:
            pixels = member.decode()
        except Exception as error:  # Pillow raises many kinds for damaged data
            self.damaged[member.name] = str(error)
            return []
        if self.data.short_side:
            return [resized_picture(pixels, int(side)) for side in scales]
        found = [pixels]
        image = Image.fromarray(pixels)
        for scale in scales[1:]:
            size = round(image.width * scale), round(image.height * scale)
            if min(size) >= self.data.crop:
                found.append(np.array(image.resize(size, Image.Resampling.LANCZOS)))
        return found
