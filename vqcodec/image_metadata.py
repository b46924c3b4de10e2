"""Exif and XMP of a Pillow image with the orientation taken out, so that upright pixels are not turned twice.

Below `image.py`; the twin of `image_pixels.py`. Exif is patched in place, never rebuilt: maker notes hold offsets.
"""

from __future__ import annotations

import re
import struct

from PIL import Image
from PIL.ExifTags import IFD, Base

PREFIX = b"Exif\0\0"
XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>))\s*([0-9]+)""")
# What of a TIFF's own directory describes the picture rather than the layout of that file.
DESCRIPTIVE = (
    Base.ImageDescription, Base.Make, Base.Model, Base.XResolution, Base.YResolution, Base.ResolutionUnit,
    Base.Software, Base.DateTime, Base.Artist, Base.HostComputer, Base.Copyright, IFD.Exif, IFD.GPSInfo,
)  # fmt: skip


def metadata(image: Image.Image) -> tuple[int, bytes | None, bytes | None, list[str]]:
    """Orientation 1..8 still to be applied to the pixels, Exif and XMP that say 1, and warnings.

    Exif wins over XMP where both name an orientation, as in Pillow.
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
    except Exception:  # Pillow's reader of a damaged directory raises nearly anything
        exif = None
        notes.append("damaged Exif dropped")

    xmp = image.info.get("xmp", image.info.get("XML:com.adobe.xmp"))
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or not xmp:
        return orientation or 1, exif, None, notes
    if orientation is None and (found := XMP_ORIENTATION.search(xmp)):
        orientation = _valid(int(found[2][:3]))
    return orientation or 1, exif, XMP_ORIENTATION.sub(rb"\g<1>1", xmp), notes


def upright_exif(exif: bytes) -> tuple[int | None, bytes]:
    """Orientation 1..8 of an Exif block, None without the tag, and the block with the prefix and that tag set to 1.

    Raises ValueError or struct.error when its first directory is damaged.
    """
    while exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    data = bytearray(exif)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None:
        raise ValueError("Exif does not start with a TIFF header")
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    orientation: int | None = None
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag == Base.Orientation and kind in (3, 4):
            field = order + ("H" if kind == 3 else "I")
            orientation = _valid(struct.unpack_from(field, data, entry + 8)[0])
            struct.pack_into(field, data, entry + 8, 1)
    return orientation, PREFIX + bytes(data)


def _exif_elsewhere(image: Image.Image) -> tuple[int | None, bytes | None]:
    """The same for tags that are no block of their own: a TIFF's directory, or text in a PNG."""
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
