"""Training crops from folders and tar shards, in an order that is a function of (seed, position)."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from vqcodec.errors import InputError

from ..recipe.schema import DataRecipe
from .cuts import native_cut, resized_cut
from .order import Order
from .pictures import Member, Pictures


class Cache:
    """Cache of decoded pictures that drops the least recently used one; safe for several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.items: OrderedDict[int, np.ndarray] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: int, member: Member) -> np.ndarray:
        """Pixels uint8 [H, W, 3] of `member`, kept under `key`; decoded if they are not in the cache."""
        with self.lock:
            if key in self.items:
                self.items.move_to_end(key)
                return self.items[key]
        pixels = member.decode()
        with self.lock:
            if key not in self.items:
                self.items[key] = pixels
                self.bytes += pixels.nbytes
            while self.bytes > self.max_bytes and len(self.items) > 1:
                self.bytes -= self.items.popitem(last=False)[1].nbytes
        return pixels


class Crops:
    """Endless sequence of crops; `crop(position)` is a pure function of (seed, position) and the data set.

    order.py maps a position to a picture, cuts.py cuts it. Batches take consecutive positions. Process r of R takes the
    r-th part of each global batch, so that R processes together train on the same crops as one process with a batch R
    times as large.
    """

    def __init__(self, pictures: Pictures, data: DataRecipe, seed: int, process: int = 0, processes: int = 1) -> None:
        self.members = pictures.members
        self.data, self.seed = data, seed
        self.process, self.processes = process, processes
        self.cache = Cache(data.cache_mb * 2**20)
        self.damaged: dict[str, str] = {}
        """Error by the name of each picture that could not be decoded."""
        self.order = Order(self.members, data.size_weight, seed, data.shares)
        self.cut = resized_cut if data.short_side else native_cut

    def batch(self, number: int) -> Tensor:
        """This process's part of global batch `number`: uint8 [B, 3, crop, crop]."""
        size = self.data.batch
        start = (number * self.processes + self.process) * size
        crops = np.stack([self.crop(start + i) for i in range(size)])
        return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()

    def crop(self, position: int) -> np.ndarray:
        """uint8 [crop, crop, 3]. Raises InputError if picture after picture is damaged."""
        rng = random.Random(f"{self.seed}/{position}")
        index = self.order.at(position)
        for _ in range(100):
            member = self.members[index]
            try:
                return self.cut(self.cache.get(index, member), rng, self.data)
            except Exception as error:  # Pillow raises many kinds for damaged data
                self.damaged[member.name] = str(error)
                index = rng.randrange(len(self.members))
        raise InputError("100 pictures in a row could not be decoded; check the training data")
