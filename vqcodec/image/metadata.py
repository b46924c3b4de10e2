"""Exif and XMP of a Pillow image with the orientation taken out, so that upright pixels are not turned twice.

Below `image.py`; the twin of `image_pixels.py`. Exif is patched in place, never rebuilt: maker notes hold offsets.
Copies of the picture in it are left out; density goes into it; what has no place in it is named in a warning.
"""

from __future__ import annotations

import re
import struct

from PIL import Image
from PIL.ExifTags import IFD, Base

from ..container.chunks import MAX_CHUNK_BYTES
from .exif_blocks import PREFIX, order_of, with_resolution, without_thumbnail
from .sources import is_upright
from .xmp import whole_xmp

TRIVIAL = re.compile(r"XML:com\.adobe\.xmp$|Raw profile type |date:|[Ss]oftware$")
"""Text of a PNG that is read as Exif or XMP, or says nothing of the picture."""
IPTC, IPTC_TAGS = 0x0404, (33723, 34377)
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
    exif = _with_density(exif, image)
    if exif is not None and len(exif) > MAX_CHUNK_BYTES:
        notes.append(f"Exif of {len(exif)} bytes dropped: a file holds at most {MAX_CHUNK_BYTES}")
        exif = None
    xmp, lost = whole_xmp(image)
    notes += lost + _left_out(image, lost)
    if xmp is not None:
        if orientation is None and (found := XMP_ORIENTATION.search(xmp)):
            orientation = _valid(int(found[2][:3]))
        xmp = XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return 1 if is_upright(image) else orientation or 1, exif, xmp, notes


def upright_exif(exif: bytes) -> tuple[int | None, bytes]:
    """Orientation 1..8 of an Exif block, None without the tag, and the block with the prefix and that tag set to 1.

    The thumbnail is left out: it shows the picture as it was stored, and can be larger than a .vqc file.
    Raises ValueError or struct.error when its first directory is damaged.
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
    """Dots per inch, x and y, that Exif states; None without, and for 72, which is what nobody has set."""
    found = Image.Exif()
    try:
        found.load(exif or b"")
        scale = {2: 1.0, 3: 2.54}[found.get(Base.ResolutionUnit, 2)]
        x, y = (scale * float(found[tag]) for tag in (Base.XResolution, Base.YResolution))
    except Exception:  # no tags, or a damaged directory, of which Pillow's reader raises nearly anything
        return None
    return (x, y) if _is_density((x, y)) else None


def _is_density(dpi: object) -> bool:
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return False
    return all(1 < value < 1e6 and round(value) != 72 for value in map(float, dpi))


def _with_density(exif: bytes | None, image: Image.Image) -> bytes | None:
    """Exif with the density of a PNG's, JPEG's or BMP's own header, unless it states one or there is none."""
    dpi = image.info.get("dpi")
    try:
        if not _is_density(dpi) or image.format == "TIFF":
            return exif
        x, y = (float(value) for value in dpi)  # type: ignore[union-attr]
        return with_resolution(exif, x, y)
    except (TypeError, ValueError, ZeroDivisionError, struct.error):
        return exif


def _left_out(image: Image.Image, lost: list[str]) -> list[str]:
    """Warnings for what a .vqc file has no place for: other pictures, text, comments, IPTC."""
    notes = []
    frames = _pictures_of_mpf(image) if image.format == "JPEG" else 0
    more = frames - 1 if frames > 1 else sum(len(image.info.get(key) or ()) for key in ("aux", "depth_images"))
    if more > 0 and not any("gain map" in text for text in lost):
        notes.append(f"{more} auxiliary picture{'s' if more > 1 else ''} left out")
    if image.format == "PNG":
        names = [name for name in getattr(image, "text", {}) if not TRIVIAL.match(name)]
        if names:
            shown = ", ".join(name[:40] for name in sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            notes.append(f"text left out: {shown}")
    if image.info.get("comment") and image.format in ("JPEG", "MPO", "GIF"):  # others name the program there
        notes.append("comment left out")
    photoshop = image.info.get("photoshop")
    tags = getattr(image, "tag_v2", {})
    if (isinstance(photoshop, dict) and IPTC in photoshop) or any(tag in tags for tag in IPTC_TAGS):
        notes.append("IPTC captions left out")
    return notes


def _pictures_of_mpf(image: Image.Image) -> int:
    """Number of pictures that a JPEG's multi-picture index lists, that Pillow takes for one."""
    try:
        return int(image._getmp()[45057])  # type: ignore[attr-defined]
    except Exception:  # no index, or a damaged one
        return 0


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
