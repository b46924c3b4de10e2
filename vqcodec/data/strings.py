"""Immutable lists of many strings or byte strings in two arrays, which processes share without copies."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class ByteStrings:
    """Byte strings: all bytes in one array uint8, and int64 [n + 1] ends, the first of them 0."""

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self.data, self.ends = data, ends

    @classmethod
    def of(cls, items: Iterable[bytes]) -> ByteStrings:
        """The strings `items`."""
        parts = list(items)
        ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(parts), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.ends[number] : self.ends[number + 1]].tobytes()
