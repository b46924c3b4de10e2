"""The `.vqc` container, specified in FORMAT.md: head, segments, alpha and chunks to bytes and back."""

from .chunks import Chunk
from .file import (
    MAGIC,
    MAX_SEGMENTS,
    MAX_SIDE,
    MAX_STEP,
    MAX_TILE,
    MAX_WORDS,
    VERSION,
    File,
    Head,
    Header,
    overhead_bytes,
    read,
    read_head,
    tiles_along,
    write,
)

__all__ = [
    "MAGIC",
    "MAX_SEGMENTS",
    "MAX_SIDE",
    "MAX_STEP",
    "MAX_TILE",
    "MAX_WORDS",
    "VERSION",
    "Chunk",
    "File",
    "Head",
    "Header",
    "overhead_bytes",
    "read",
    "read_head",
    "tiles_along",
    "write",
]
