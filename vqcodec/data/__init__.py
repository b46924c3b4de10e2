"""Data sets of tokens for PyTorch: .vqc files, tar shards and packed shards, without running a network.

Names are loaded lazily: the packed form and the listing need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import TokenDataset
    from .loader import TokenLoader, collate
    from .packing import pack

_HOME = {"TokenDataset": "dataset", "TokenLoader": "loader", "collate": "loader", "pack": "packing"}

__all__ = ["TokenDataset", "TokenLoader", "collate", "pack"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vqcodec.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
