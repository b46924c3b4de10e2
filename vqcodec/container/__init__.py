"""The .vqc container, specified in FORMAT.md: head, segments, alpha and chunks to bytes and back."""

from .chunks import Chunk
from .file import File, read, write
from .header import (
    MAGIC,
    MAX_HEAD_BYTES,
    MAX_PIXELS,
    MAX_SEGMENTS,
    MAX_SIDE,
    MAX_STEP,
    MAX_TILE,
    MAX_WORDS,
    VERSION,
    Head,
    Header,
    read_head,
    tiles_along,
    write_head,
)

__all__ = [
    "MAGIC",
    "MAX_HEAD_BYTES",
    "MAX_PIXELS",
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
    "read",
    "read_head",
    "tiles_along",
    "write",
    "write_head",
]
