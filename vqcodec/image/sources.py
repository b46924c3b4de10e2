"""Files that Pillow reads wrongly or in part: camera raw, thumbnail pages, long PNG text, 16-bit keys, deep samples.

These functions read the image's file and are called before `image.load()`, which closes it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ..container.chunks import MAX_CHUNK_BYTES, MAX_CHUNKS_BYTES
from ..errors import InputError
from .colour import png_chunks

RAW = "camera raw files are not read; develop it first, to TIFF or PNG"
DNG_VERSION, SUB_IFDS, NEW_SUBFILE_TYPE = 50706, 330, 254
MAX_HEAD_BYTES = 2**16
"""Bytes at the start of a file that are searched for the depth of its samples."""
DEPTHS: dict[str | None, tuple[bytes, int, Callable[[int], bool]]] = {
    "JPEG2000": (b"\xff\x4f\xff\x51", 42, lambda byte: byte & 0x7F > 7),  # Ssiz of the first component
    "AVIF": (b"av1C", 6, lambda byte: bool(byte & 0x40)),  # high_bitdepth
    "SGI": (b"\x01\xda", 3, lambda byte: byte > 1),  # bytes per sample
}
"""Format -> bytes before the depth, its offset from their start, and the test of this byte."""
LONG = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
"""PNG chunk types whose length Pillow limits."""


def first_full_page(image: Image.Image, name: str) -> list[str]:
    """Seek a TIFF to its first page that is no thumbnail; a warning if that is not page 0.

    Raises InputError for camera raw, and if the picture is not among the pages.
    """
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or image.format != "TIFF":
        return []
    if DNG_VERSION in tags or _is_canon_raw(image):
        raise InputError(f"{name}: {RAW}")
    if not _is_thumbnail(tags):
        return []
    for page in range(1, int(getattr(image, "n_frames", 1))):
        image.seek(page)
        if not _is_thumbnail(image.tag_v2):  # type: ignore[attr-defined]
            return ["the first page is a thumbnail: the next full page is kept"]
    image.seek(0)
    if SUB_IFDS in tags:
        raise InputError(f"{name}: the first page is a thumbnail, as in camera raw; {RAW}")
    return ["the only page of the file is marked as a thumbnail"]


def low_bytes(image: Image.Image) -> Image.Image | None:
    """Lower 8 bits of each sample of a 16-bit RGB or RGBA PNG, of which Pillow gives the upper 8; None for others."""
    file: Any = getattr(image, "fp", None)
    if file is None or image.format != "PNG" or not getattr(image, "tile", None):
        return None
    before = file.tell()
    try:
        file.seek(0)
        other = Image.open(file, formats=["PNG"])
        codec, box, offset, args = other.tile[0][:4]
        if args not in ("RGB;16B", "RGBA;16B"):
            return None
        # Read as little-endian, the second byte of each sample is its upper byte.
        other.tile = [type(other.tile[0])(codec, box, offset, f"{other.mode};16L")]
        other.load()
        return other
    finally:
        file.seek(before)


def profile_in_jp2(image: Image.Image) -> bytes | None:
    """ICC profile in the boxes of a JPEG 2000 file, which Pillow does not read; None without."""
    file: Any = getattr(image, "fp", None)
    if file is None or image.format != "JPEG2000" or not getattr(image, "tile", None):
        return None
    before = file.tell()
    try:
        file.seek(0)
        head = file.read(MAX_HEAD_BYTES)
        place = head[: head.find(b"jp2c")].find(b"colr")
        if place < 4 or head[place + 4] not in (2, 3):
            return None
        file.seek(place + 7)
        size = int.from_bytes(head[place - 4 : place], "big") - 11
        return bytes(file.read(min(size, MAX_CHUNK_BYTES + 1))) if size > 0 else None
    finally:
        file.seek(before)


def is_deep(image: Image.Image) -> bool:
    """True for JPEG 2000, AVIF, HEIF and SGI files of more than 8 bits a sample of colour, of which Pillow gives 8."""
    depth = image.info.get("bit_depth")  # of HEIF, from its plugin
    if isinstance(depth, int):
        return depth > 8
    file: Any = getattr(image, "fp", None)
    if file is None or image.format not in DEPTHS or image.mode.startswith("I") or not getattr(image, "tile", None):
        return False
    before = file.tell()
    try:
        file.seek(0)
        head = file.read(MAX_HEAD_BYTES)
    finally:
        file.seek(before)
    mark, offset, deep = DEPTHS[image.format]
    place = head.find(mark) + offset
    return place >= offset and place < len(head) and deep(head[place])


def is_upright(image: Image.Image) -> bool:
    """True if the decoder has applied the orientation that Exif still states, as JPEG XL's does unless it is a JPEG."""
    return image.format == "JXL" and not getattr(image, "jpeg", False)


def without_long_text(file: BinaryIO) -> tuple[BinaryIO, list[str]]:
    """A PNG without text and profiles over the limits of a .vqc file, and a warning for each kind removed."""
    kept = io.BytesIO()
    file.seek(0)
    kept.write(file.read(8))
    lost: dict[str, int] = {}
    total = 0
    for kind, place, length in png_chunks(file):
        file.seek(place - 8)
        chunk = file.read(length + 12)
        size = _plain_size(kind, chunk[8:-4]) if kind in LONG else 0
        total += size
        if size > MAX_CHUNK_BYTES or total > MAX_CHUNKS_BYTES:
            total -= size
            what = "ICC profile" if kind == b"iCCP" else "text"
            lost[what] = lost.get(what, 0) + 1
        else:
            kept.write(chunk)
    kept.seek(0)
    return kept, [f"{what} of more than {MAX_CHUNK_BYTES} bytes dropped" for what in lost]


def key_16_bit(image: Image.Image, raw: str) -> np.ndarray | None:
    """Transparent colour [3], 0..65535, of a 16-bit RGB picture; None without one."""
    value = image.info.get("transparency")
    if image.mode != "RGB" or not isinstance(value, tuple) or len(value) != 3:
        return None
    return np.array(value) if raw.startswith("RGB;16") or max(value) > 255 else None


def _plain_size(kind: bytes, data: bytes) -> int:
    """Length of a text or profile after decompression, at most MAX_CHUNK_BYTES + 1."""
    if kind == b"tEXt":
        return len(data)
    _, _, rest = data.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return len(data)
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, MAX_CHUNK_BYTES + 1))
    except zlib.error:
        return 0


def _is_thumbnail(tags: Any) -> bool:
    kind = tags.get(NEW_SUBFILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & 1)


def _is_canon_raw(image: Image.Image) -> bool:
    file: Any = getattr(image, "fp", None)
    if file is None:
        return False
    before = file.tell()
    file.seek(8)
    mark = file.read(2)
    file.seek(before)
    return bool(mark == b"CR")


def is_white_at_zero(image: Image.Image) -> bool:
    """True if 0 is white in a TIFF and Pillow has not inverted it: samples of more than 8 bits."""
    tags: Any = getattr(image, "tag_v2", None)
    return tags is not None and image.format == "TIFF" and tags.get(Base.PhotometricInterpretation) == 0
