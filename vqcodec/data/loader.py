"""DataLoader of tokens that counts epochs and resumes within one, with any number of workers; its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..errors import UsageError
from .dataset import STATE_VERSION, Sample, TokenDataset

Batch = dict[str, Any]
"""`__key__` (list of str), `tokens` (int64 [B, S, h, w], or a tuple of planes [B, ...]), labels: `cls` int64 [B], lists
of the others."""


class TokenLoader(DataLoader[Sample]):
    """DataLoader over a TokenDataset with `state_dict` and `load_state_dict`, as torchdata's StatefulDataLoader has.

    Each iteration is one epoch, the next has the next number. Batches do not depend on the number of workers, nor do
    states: a run may continue with other workers, or with other ranks at a batch that all ranks have finished.

    Args:
        dataset: the samples; the loader has an epoch and a position of its own.
        batch_size: samples of a batch, at least 1.
        collate_fn: list of samples to batch.
        options: further arguments of DataLoader, such as num_workers, drop_last and pin_memory.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        batch_size: int = 1,
        *,
        collate_fn: Callable[[list[Sample]], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dataset.separate(), batch_size, collate_fn=collate_fn or collate, **options)
        self._tokens: TokenDataset = self.dataset  # type: ignore[assignment]
        self._samples = batch_size * self._tokens.world
        """Samples of a batch, of all ranks together."""
        self._next = (self._tokens.epoch, 0)
        """Epoch and position at which the next iteration begins."""
        self._now = self._next
        """Epoch and position after the batches given so far."""

    @property
    def epoch(self) -> int:
        """Number of the epoch that the last batch belongs to."""
        return self._now[0]

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be epoch `epoch`. A position from `load_state_dict` is kept if it is within it."""
        if epoch != self._next[0]:
            self._next = self._now = (epoch, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        epoch, position = self._now = self._next
        self._next = (epoch + 1, 0)
        assert self.batch_size is not None
        self._tokens.begin(epoch, position, self.batch_size)
        return self._batches(super().__iter__(), epoch, position)

    def _batches(self, batches: Iterator[Batch], epoch: int, position: int) -> Iterator[Batch]:
        for batch in batches:
            position = min(position + self._samples, self._tokens.n_samples)
            self._now = (epoch, position)
            yield batch
        if self._now[0] == epoch:
            self._now = (epoch + 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and position after the batches given so far; equal on all ranks."""
        epoch, position = self._now
        return {"version": STATE_VERSION, "data": self._tokens.fingerprint(), "epoch": epoch, "position": position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration give the rest of the epoch. Raises UsageError for a state of another data set."""
        if state.get("version") != STATE_VERSION or state.get("data") != self._tokens.fingerprint():
            raise UsageError("state: of another data set, seed or order; the batches given before cannot be left out")
        self._next = self._now = (int(state["epoch"]), int(state["position"]))


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples as one batch. Raises UsageError for tokens of several shapes."""
    batch: Batch = {"__key__": [sample["__key__"] for sample in samples]}
    tokens = [sample["tokens"] for sample in samples]
    try:
        if isinstance(tokens[0], tuple):
            batch["tokens"] = tuple(torch.stack(planes) for planes in zip(*tokens, strict=True))
        else:
            batch["tokens"] = torch.stack(tokens)
    except RuntimeError as error:
        shapes = sorted({tuple(one.shape) for one in tokens if isinstance(one, torch.Tensor)})
        raise UsageError(
            f"batch: pictures of several sizes, tokens of shapes {shapes[:3]}; give crop=, or batch_size=1"
        ) from error
    for name in samples[0]:
        if name not in batch:
            values = [sample[name] for sample in samples]
            numbers = all(isinstance(value, int) for value in values)
            batch[name] = torch.tensor(values) if name == "cls" and numbers else values
    return batch
