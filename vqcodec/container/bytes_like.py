"""Bytes of a .vqc file from any bytes-like object: memory maps, views, arrays."""

from __future__ import annotations

import os
from typing import Any

from ..errors import UsageError


def as_bytes(data: Any) -> bytes:
    """`data` itself if it is bytes, else a copy of a bytes-like object (memoryview, mmap, uint8 array, bytearray).

    Raises UsageError, with a hint, for paths, open files and other types.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, str | os.PathLike):
        raise UsageError(
            f"the bytes of a .vqc file are needed, not its name: pass Path({os.fspath(data)!r}).read_bytes()"
        )
    kind = type(data).__name__
    try:
        view = memoryview(data)
    except (TypeError, ValueError, BufferError):
        how = "pass its read()" if hasattr(data, "read") else "bytes or a bytes-like object"
        raise UsageError(f"the bytes of a .vqc file are needed, not {kind}: {how}") from None
    if view.itemsize != 1:
        raise UsageError(f"the bytes of a .vqc file are needed, not {kind} of {view.itemsize}-byte items: use uint8")
    return view.tobytes()
