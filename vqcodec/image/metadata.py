"""Exif and XMP of a Pillow image with orientation 1, so that upright pixels are not rotated again.

Exif is patched in place, never rebuilt, because maker notes hold offsets. Thumbnails are removed, and the density of
the file's own header is added.
"""

from __future__ import annotations

import re
import struct

from PIL import Image
from PIL.ExifTags import IFD, Base

from ..container.chunks import MAX_CHUNK_BYTES
from .exif_blocks import PREFIX, order_of, with_resolution, without_thumbnail
from .left_out import left_out
from .sources import is_upright
from .xmp import whole_xmp

XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>))\s*([0-9]+)""")
DESCRIPTIVE = (
    Base.ImageDescription, Base.Make, Base.Model, Base.XResolution, Base.YResolution, Base.ResolutionUnit,
    Base.Software, Base.DateTime, Base.Artist, Base.HostComputer, Base.Copyright, IFD.Exif, IFD.GPSInfo,
)  # fmt: skip
"""Tags of a TIFF's own directory that describe the picture, not the layout of the file."""


def metadata(image: Image.Image) -> tuple[int, bytes | None, bytes | None, list[str]]:
    """Orientation 1..8 of the stored pixels; Exif and XMP with orientation 1, or None; warnings.

    The orientation of Exif takes precedence over that of XMP, as in Pillow.
    """
    notes: list[str] = []
    orientation: int | None = None
    exif = image.info.get("exif")
    try:
        if isinstance(exif, Image.Exif):
            exif = exif.tobytes()
        if isinstance(exif, bytes) and exif:
            orientation, exif = upright_exif(exif)
        else:
            orientation, exif = _exif_elsewhere(image)
    except Exception:  # Pillow raises many kinds for damaged directories
        exif = None
        notes.append("damaged Exif dropped")
    exif = _with_density(exif, image)
    if exif is not None and len(exif) > MAX_CHUNK_BYTES:
        notes.append(f"Exif of {len(exif)} bytes dropped: a file holds at most {MAX_CHUNK_BYTES}")
        exif = None
    xmp, lost = whole_xmp(image)
    notes += lost + left_out(image, lost)
    if xmp is not None:
        if orientation is None and (found := XMP_ORIENTATION.search(xmp)):
            orientation = _valid(int(found[2][:3]))
        xmp = XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return 1 if is_upright(image) else orientation or 1, exif, xmp, notes


def upright_exif(exif: bytes) -> tuple[int | None, bytes]:
    """Orientation 1..8 of an Exif block, None without the tag; and the block with prefix and orientation 1.

    The thumbnail is removed: it has the old orientation, and can be larger than a .vqc file.
    Raises ValueError or struct.error if the first directory is damaged.
    """
    while exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    data = bytearray(exif)
    order = order_of(bytes(data))
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    orientation: int | None = None
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag == Base.Orientation and kind in (3, 4):
            field = order + ("H" if kind == 3 else "I")
            orientation = _valid(struct.unpack_from(field, data, entry + 8)[0])
            struct.pack_into(field, data, entry + 8, 1)
    return orientation, PREFIX + without_thumbnail(bytes(data))


def density(exif: bytes | None) -> tuple[float, float] | None:
    """Dots per inch (x, y) stated by Exif; None without, and for 72, the default of programs that set none."""
    found = Image.Exif()
    try:
        found.load(exif or b"")
        scale = {2: 1.0, 3: 2.54}[found.get(Base.ResolutionUnit, 2)]
        x, y = (scale * float(found[tag]) for tag in (Base.XResolution, Base.YResolution))
    except Exception:  # no tags, or a damaged directory, for which Pillow raises many kinds
        return None
    return (x, y) if _is_density((x, y)) else None


def _is_density(dpi: object) -> bool:
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return False
    return all(1 < value < 1e6 and round(value) != 72 for value in map(float, dpi))


def _with_density(exif: bytes | None, image: Image.Image) -> bytes | None:
    """Exif with the density of a PNG, JPEG or BMP header, unless Exif states a density or the header has none."""
    dpi = image.info.get("dpi")
    try:
        if not _is_density(dpi) or image.format == "TIFF":
            return exif
        x, y = (float(value) for value in dpi)  # type: ignore[union-attr]
        return with_resolution(exif, x, y)
    except (TypeError, ValueError, ZeroDivisionError, struct.error):
        return exif


def _exif_elsewhere(image: Image.Image) -> tuple[int | None, bytes | None]:
    """`upright_exif` for tags outside an Exif block: in the directory of a TIFF or a text chunk of a PNG."""
    found = image.getexif()
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in found:
            kept[tag] = dict(found.get_ifd(tag)) if isinstance(tag, IFD) else found[tag]
    value = found.get(Base.Orientation)
    orientation = _valid(value) if isinstance(value, int) else None
    return orientation, kept.tobytes() if len(kept) else None


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1
