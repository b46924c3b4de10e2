"""Crops for training: from folders and tar shards, in an order that depends on (seed, step) alone."""

from __future__ import annotations

import glob
import io
import queue
import random
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}


@dataclass(frozen=True)
class Member:
    """One picture: a file, or `size` bytes at `offset` of a tar shard."""

    path: Path
    offset: int
    size: int
    name: str
    width: int
    height: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def decode(self) -> np.ndarray:
        """RGB uint8 [H, W, 3]; raises OSError or ValueError for a damaged picture."""
        return np.array(Image.open(io.BytesIO(self.read())).convert("RGB"))


@dataclass
class Pictures:
    """The usable pictures of a data set, in a fixed order, and what was left out."""

    members: list[Member]
    skipped: list[str]
    """`name: reason` for each."""

    def decoded(self, members: list[Member] | None = None) -> Iterator[np.ndarray]:
        """RGB pixels of `members` (default: all) in order; a picture whose data is damaged is skipped and named."""
        for member in self.members if members is None else members:
            try:
                yield member.decode()
            except Exception as error:  # Pillow raises many kinds for damaged data
                self.skipped.append(f"{member.name}: {error}")


def scan(sources: tuple[str, ...], min_side: int) -> Pictures:
    """List the pictures in folders, tar shards or patterns of these; headers are read, pixels are not.

    A picture that cannot be opened or has a side below `min_side` pixels is skipped and named.
    Raises InputError if a source does not exist or no picture is left.
    """
    found = Pictures([], [])
    for source in sources:
        paths = sorted(Path(p) for p in glob.glob(source))
        if not paths:
            raise InputError(f"{source}: no such folder or shard")
        for path in paths:
            for name, offset, size in _listing(path):
                _add(found, path if path.is_file() else path / name, name, offset, size, min_side)
    if not found.members:
        raise InputError(f"{', '.join(sources)}: no picture of at least {min_side} pixels a side in there")
    return found


def _listing(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of each picture file."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield str(file.relative_to(path)), 0, file.stat().st_size
        return
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                if entry.isfile() and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield entry.name, entry.offset_data, entry.size
    except tarfile.TarError as error:
        raise InputError(f"{path}: not an uncompressed tar shard: {error}") from error


def _add(found: Pictures, path: Path, name: str, offset: int, size: int, min_side: int) -> None:
    probe = Member(path, offset, size, name, 0, 0)
    try:
        with Image.open(io.BytesIO(probe.read())) as image:
            width, height = image.size
    except Exception as error:  # Pillow raises many kinds for damaged headers
        found.skipped.append(f"{name}: {error}")
        return
    if min(width, height) < min_side:
        found.skipped.append(f"{name}: {width}x{height} is below {min_side} pixels a side")
        return
    found.members.append(Member(path, offset, size, name, width, height))


class Cache:
    """Decoded pictures, least recently used dropped first; safe for several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.items: OrderedDict[int, np.ndarray] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: int, member: Member) -> np.ndarray:
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
    """`batch(step)` is a pure function of (seed, step) and the data set."""

    def __init__(
        self, pictures: Pictures, crop: int, batch: int, seed: int, min_scale: float, size_weight: float, cache_mb: int
    ) -> None:
        self.members = pictures.members
        self.crop, self.batch_size, self.seed, self.min_scale = crop, batch, seed, min_scale
        self.cache = Cache(cache_mb * 2**20)
        self.damaged: dict[str, str] = {}
        weights = np.array([(m.width * m.height) ** size_weight for m in self.members])
        self.cumulative = np.cumsum(weights / weights.sum())

    def batch(self, step: int) -> Tensor:
        """uint8 [B, 3, crop, crop]."""
        crops = [self._crop(random.Random(f"{self.seed}/{step}/{i}")) for i in range(self.batch_size)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def _crop(self, rng: random.Random) -> np.ndarray:
        for _ in range(100):
            index = min(int(np.searchsorted(self.cumulative, rng.random())), len(self.members) - 1)
            # Half of the crops keep the picture's own scale; the others hide its JPEG artefacts by shrinking.
            scale = 1.0 if rng.random() < 0.5 else rng.uniform(self.min_scale, 1)
            left, top, flip = rng.random(), rng.random(), rng.random() < 0.5
            member = self.members[index]
            try:
                pixels = self.cache.get(index, member)
            except Exception as error:  # Pillow raises many kinds for damaged data
                self.damaged[member.name] = str(error)
                continue
            side = min(round(self.crop / scale), *pixels.shape[:2])
            y, x = int(top * (pixels.shape[0] - side + 1)), int(left * (pixels.shape[1] - side + 1))
            part = pixels[y : y + side, x : x + side]
            if side != self.crop:
                resized = Image.fromarray(np.ascontiguousarray(part)).resize((self.crop,) * 2, Image.Resampling.LANCZOS)
                part = np.asarray(resized)
            return part[:, ::-1] if flip else part
        raise InputError("100 pictures in a row could not be decoded; check the training data")


def prefetch(crops: Crops, start: int, stop: int, depth: int = 6) -> Iterator[tuple[int, Tensor]]:
    """(step, batch) for start <= step < stop, made by a thread of its own a few steps ahead."""
    ready: queue.Queue[tuple[int, Tensor] | BaseException] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: tuple[int, Tensor] | BaseException) -> None:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in range(start, stop):
                if closed.is_set():
                    return
                put((step, crops.batch(step)))
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
