"""Data set of tokens for PyTorch: samples from .vqc files or packed shards, shuffled, divided and resumable."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import InputError, UsageError
from ..image.limits import MAX_PIXELS
from .crops import Crops
from .listing import Sources, list_shards
from .order import Share, shuffled
from .packed import PackedShard
from .shard import SamplePlanes, Shard

Sample: TypeAlias = dict[str, Any]
"""`__key__`, `tokens`, and the labels of the data set, None where a sample has none."""
READ_TOGETHER = 16
"""Samples read at a time: small files decoded together take half the time."""
STATE_VERSION = 1
EPOCH, START, BLOCK = range(3)
"""Entries of the position that processes share."""


class TokenDataset(IterableDataset[Sample]):
    """Samples of .vqc files, tar shards and packed shards, as a torch IterableDataset; no network runs.

    A sample is a dict: `__key__` (name without suffix), `tokens` (int64 [S, h, w]; a tuple of planes where their shapes
    differ), and the labels beside the tokens in WebDataset's names: `cls` (int), `txt` (str), `json` (object).
    Indices are -1 where a file has left out layers.

    Every epoch gives each sample once, divided among the workers of a DataLoader and among the ranks of
    torch.distributed (or of RANK and WORLD_SIZE), in an order that depends on (seed, epoch) only. Call `set_epoch`
    before each epoch, or use TokenLoader, which counts epochs.

    `state_dict` and `load_state_dict` follow torchdata's StatefulDataLoader, which calls them in its workers. With a
    plain DataLoader they work without workers; TokenLoader resumes with any number of workers.

    Args:
        sources: folder, tar shard, packed shard (.vqtok), .vqc file, pattern or URL of these; or a list of them.
        layers: the first layers of each file; all for None. Planes of layers that a file does not hold are -1.
        crop: side, or (height, width), of a crop in tokens, at a random position or centred without `shuffle`.
            Smaller pictures are padded with -1 at the right and the bottom.
        shuffle: random order of the samples; else that of the sources.
        seed: seed of order and crops.
        labels: suffixes of the labels to read; default those that the sources have.
        rank, world: number of this process among those that divide an epoch; default from torch.distributed.
        even_ranks: leave out the last samples of an epoch, so that all ranks have equally many.
        max_pixels: largest width times height of a picture; None: no limit.

    Raises InputError, FormatError, ModelError, UsageError.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        layers: int | None = None,
        crop: int | tuple[int, int] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        labels: Sequence[str] | None = None,
        rank: int | None = None,
        world: int | None = None,
        even_ranks: bool = False,
        max_pixels: int | None = MAX_PIXELS,
    ) -> None:
        self.shards: list[Shard] = list_shards(sources, max_pixels)
        whole = self.shards[0].space()
        for shard in self.shards:
            if isinstance(shard, PackedShard) and (found := shard.space()).identity != whole.identity:
                raise InputError(f"{shard.name}: is of model '{found.model}', {self.shards[0].name} of '{whole.model}'")
        self.space = whole.kept(layers)
        self.vocabulary = self.space.vocabulary
        """Number of different indices of each plane."""
        self._ends = np.cumsum([0, *map(len, self.shards)])
        self.n_samples = int(self._ends[-1])
        """Samples of an epoch, of all ranks together."""
        self.crop = (crop, crop) if isinstance(crop, int) else crop
        if self.crop is not None and min(self.crop) < 1:
            raise UsageError(f"crop {crop}: 1 token a side at least")
        self.shuffle, self.seed, self.even_ranks = shuffle, seed, even_ranks
        present = {suffix for shard in self.shards for suffix in shard.labels}
        self.labels = tuple(sorted(present)) if labels is None else tuple(labels)
        if missing := set(self.labels) - present:
            raise InputError(f"labels: no sample has a .{sorted(missing)[0]} beside its tokens")
        self.rank, self.world = _place(rank, world)
        # Shared memory: workers that stay alive from epoch to epoch see changes.
        self._position = torch.tensor([0, 0, 1]).share_memory_()
        self._resumed: dict[str, int] | None = None
        self._run: dict[str, int] | None = None

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return int(self._position[EPOCH])

    def set_epoch(self, epoch: int) -> None:
        """Begin epoch `epoch`. A position from `load_state_dict` is kept if it is within this epoch."""
        if epoch != self.epoch:
            self.begin(epoch)

    def begin(self, epoch: int, start: int = 0, block: int = 1) -> None:
        """Let the next iteration begin at position `start` of an epoch, of all ranks together.

        `block` samples in turn go to each worker: with the batch size of the DataLoader, the batches do not depend on
        the number of workers.
        """
        self._position[:] = torch.tensor([epoch, start, block])
        self._resumed = self._run = None

    def separate(self) -> TokenDataset:
        """The same data set with an epoch and a position of its own."""
        other = copy.copy(self)
        other.detach()
        return other

    def detach(self) -> None:
        """Give up the position shared with copies of this data set."""
        self._position = self._position.clone().share_memory_()
        self._resumed = self._run = None

    def __len__(self) -> int:
        """Samples of an epoch on this rank."""
        n = self.n_samples
        return n // self.world if self.even_ranks else len(range(self.rank, n, self.world))

    def __iter__(self) -> Iterator[Sample]:
        self._run, self._resumed = self._resumed or self._fresh_run(), None
        return self._samples(self._run)

    def _samples(self, run: dict[str, int]) -> Iterator[Sample]:
        n = self.n_samples - (self.n_samples - run["start"]) % self.world if self.even_ranks else self.n_samples
        share = Share(n, run["start"], self.rank, self.world, run["worker"], run["workers"], run["block"])
        first = run["taken"]
        while len(positions := share.positions(first, READ_TOGETHER)):
            first += len(positions)
            for sample in self.read(self._numbers(positions, run["epoch"]), run["epoch"]):
                run["taken"] += 1
                yield sample
        if self._run is run and get_worker_info() is None:
            self._position[START] = 0

    def _fresh_run(self) -> dict[str, int]:
        """Numbers of an iteration that begins at the shared position."""
        info = get_worker_info()
        epoch, start, block = self._position.tolist()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        return {"epoch": epoch, "start": start, "block": block, "worker": worker, "workers": workers, "taken": 0}

    def _numbers(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Sample numbers at positions of an epoch."""
        return shuffled(positions, self.n_samples, self.seed, epoch) if self.shuffle else positions

    def read(self, numbers: Sequence[int] | np.ndarray, epoch: int = 0) -> list[Sample]:
        """The samples `numbers` 0..n_samples-1 in the order of the sources, with the crops of `epoch`."""
        numbers = np.asarray(numbers, np.int64)
        crops = Crops(*self.crop, self.seed, epoch, not self.shuffle) if self.crop else None
        shards = np.searchsorted(self._ends, numbers, "right") - 1
        found: dict[int, Sample] = {}
        for s in np.unique(shards).tolist():
            shard, at = self.shards[s], np.flatnonzero(shards == s).tolist()
            within = (numbers[at] - self._ends[s]).tolist()
            planes = shard.planes(within, self.space, crops, numbers[at].tolist())
            for i, number, of_sample in zip(at, within, planes, strict=True):
                found[i] = {"__key__": shard.key(number), "tokens": _tensors(of_sample), **self._labels(shard, number)}
        return [found[i] for i in range(len(numbers))]

    def _labels(self, shard: Shard, number: int) -> Sample:
        found: Sample = {}
        for suffix in self.labels:
            data = shard.label(number, suffix)
            try:
                found[suffix] = None if data is None else PARSERS[suffix](data)
            except ValueError as error:
                raise InputError(f"{shard.name}: {shard.key(number)}.{suffix}: {error}") from error
        return found

    def fingerprint(self) -> str:
        """12 hexadecimal digits that differ between data sets of other shards, sizes or order."""
        facts = [(os.path.basename(shard.name), len(shard)) for shard in self.shards]
        text = json.dumps([facts, self.seed, self.shuffle])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def state_dict(self) -> dict[str, Any]:
        """Position of the iteration that was begun last in this process: the samples given so far are done."""
        run = dict(self._run or self._resumed or self._fresh_run())
        if run["workers"] == 1:  # without workers any number of ranks or workers can go on from here
            run["start"] = min(run["start"] + run["taken"] * self.world, self.n_samples)
            run["taken"] = 0
        return {"version": STATE_VERSION, "data": self.fingerprint(), **run}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration begin after the samples that were given before `state_dict`.

        Raises UsageError for a state of another data set, or of a worker and not given back to it.
        """
        if state.get("version") != STATE_VERSION or state.get("data") != self.fingerprint():
            raise UsageError("state: of another data set, seed or order; the samples given before cannot be left out")
        run = {name: int(state[name]) for name in ("epoch", "start", "block", "worker", "workers", "taken")}
        info = get_worker_info()
        if run["workers"] == 1 and (info is None or info.num_workers == 1):
            self.begin(run["epoch"], run["start"], run["block"])
            return
        if info is None or (info.id, info.num_workers) != (run["worker"], run["workers"]):
            raise UsageError(f"state: of worker {run['worker']} of {run['workers']}; use as many workers as before")
        self._resumed, self._run = run, None


PARSERS: dict[str, Callable[[bytes], Any]] = {"cls": int, "txt": bytes.decode, "json": json.loads}
"""Suffix of a label -> its reader, from bytes."""


def _tensors(planes: SamplePlanes) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """int64 [S, h, w], or one tensor for each plane where their shapes differ."""
    if isinstance(planes, list) and len({plane.shape for plane in planes}) > 1:
        return tuple(torch.from_numpy(plane.astype(np.int64)) for plane in planes)
    return torch.from_numpy(np.asarray(planes, np.int64))


def _place(rank: int | None, world: int | None) -> tuple[int, int]:
    """(rank, world) of this process. Raises UsageError."""
    if rank is None and world is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun
    if rank is None or world is None or not 0 <= rank < world:
        raise UsageError(f"rank {rank}, world {world}: give both, with 0 <= rank < world")
    return rank, world
