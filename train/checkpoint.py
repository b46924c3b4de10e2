"""Checkpoints: one file per run, replaced atomically, read without unpickling code."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

from vqcodec.errors import InputError


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` (tensors and plain values); the old file stays until the new one is complete."""
    draft = path.with_suffix(".tmp")
    try:
        # torch would report a full disk as a RuntimeError of its zip writer.
        with open(draft, "wb") as file:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            file.write(buffer.getbuffer())
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
