"""Checkpoints: one file per run, replaced atomically, read without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from vqcodec.errors import InputError


class _Written:
    """File that torch writes to, without a copy of the state in memory.

    torch reports a full disk as a RuntimeError of its zip writer; `save` raises the OSError behind it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def save(self, state: dict[str, Any]) -> None:
        try:
            torch.save(state, self)  # type: ignore[arg-type]
        except RuntimeError:
            if self.error is not None:
                raise self.error from None
            raise

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` (tensors and plain values); the old file stays until the new one is complete."""
    draft = path.with_suffix(".tmp")
    try:
        with open(draft, "wb") as file:
            _Written(file).save(state)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state written by `write_checkpoint`, on the CPU. Raises InputError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no checkpoint there") from None
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(f"{path}: not a readable checkpoint: {error}") from error
