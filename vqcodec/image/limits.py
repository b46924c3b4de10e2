"""Limits on the size of pictures, and Pillow's own limits while a picture is read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, PngImagePlugin

from ..container import MAX_PIXELS
from ..container.chunks import MAX_CHUNK_BYTES, MAX_CHUNKS_BYTES
from ..errors import InputError, LimitError
from ..runtime.forking import ForkLock
from ..runtime.memory import BYTES_PER_PIXEL, check_memory

__all__ = ["MAX_PIXELS", "check_size", "pillow_limits", "pillow_lock", "too_large"]

pillow_lock = ForkLock()
"""Guards Pillow's limits, which are globals of the process."""


@contextmanager
def pillow_limits(max_pixels: int | None) -> Iterator[None]:
    """Pillow with `max_pixels` and the chunk limits of a .vqc file in place of its own limits, without warnings.

    Threads take turns under `pillow_lock`; decoding in parallel takes processes, or `files.read_pixels`. Pillow raises
    at twice its limit, before a WebP decoder allocates its canvas.
    """
    with pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Image.MAX_IMAGE_PIXELS = None if max_pixels is None else (max_pixels + 1) // 2
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = MAX_CHUNK_BYTES, MAX_CHUNKS_BYTES
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def check_size(name: str, image: Image.Image, max_pixels: int | None) -> None:
    """Raise InputError for a picture without pixels, LimitError for one of more than `max_pixels` or beyond memory."""
    if not image.width or not image.height:
        raise InputError(f"{name}: the image has no pixels ({image.width} x {image.height})")
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise too_large(name, max_pixels, f" ({image.width} x {image.height})")
    check_memory(name, BYTES_PER_PIXEL * image.width * image.height)


def too_large(name: str, max_pixels: int | None, size: str = "") -> LimitError:
    """The error for a picture of more than `max_pixels`; None: for one that memory does not hold."""
    if max_pixels is None:
        return LimitError(f"{name}: the image is too large for this machine's memory")
    return LimitError(f"{name}: more than {max_pixels} pixels{size}; allow more with --max-pixels if you trust it")
