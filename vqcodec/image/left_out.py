"""Properties of an image that a .vqc file cannot hold, one warning for each."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

TRIVIAL = re.compile(r"XML:com\.adobe\.xmp$|Raw profile type |date:|[Ss]oftware$")
"""Keywords of PNG text that is read as Exif or XMP, or does not describe the picture."""
IPTC, IPTC_TAGS = 0x0404, (33723, 34377)
LAYERS_TAG = 37724
"""Tag of a TIFF that holds the layers of Photoshop."""


def left_out(image: Image.Image, named: list[str]) -> list[str]:
    """Warnings for further pictures, text, comments, captions, layers, credentials and the shape of pixels.

    Args:
        image: loaded.
        named: warnings that its XMP has given already.
    """
    found = (
        _further_pictures(image, named),
        _text(image),
        # In other formats the comment names the program.
        "comment" if image.info.get("comment") and image.format in ("JPEG", "MPO", "GIF") else "",
        _pixel_shape(image),
        "IPTC captions" if _has_iptc(image) else "",
        "Photoshop layers" if LAYERS_TAG in _tags(image) else "",
        "content credentials (C2PA)" if _has_credentials(image) else "",
    )
    return [text if "left out" in text else f"{text} left out" for text in found if text]


def _further_pictures(image: Image.Image, named: list[str]) -> str:
    if image.format in ("ICO", "ICNS") and len(sizes := image.info.get("sizes", ())) > 1:
        return f"1 of {len(sizes)} sizes kept, {len(sizes) - 1} left out"
    frames = _pictures_of_mpf(image) if image.format == "JPEG" else 0
    more = frames - 1 if frames > 1 else sum(len(image.info.get(key) or ()) for key in ("aux", "depth_images"))
    if more <= 0 or any("gain map" in text for text in named):
        return ""
    return f"{more} auxiliary picture{'s' if more > 1 else ''}"


def _text(image: Image.Image) -> str:
    names = [name for name in getattr(image, "text", {}) if not TRIVIAL.match(name)]
    if image.format != "PNG" or not names:
        return ""
    return "text left out: " + ", ".join(name[:40] for name in sorted(names)[:5]) + (", ..." if len(names) > 5 else "")


def _pixel_shape(image: Image.Image) -> str:
    """Text on densities (x, y) without a unit of a PNG or JPEG, which state the shape of pixels; "" for square ones."""
    shape = image.info.get("aspect")  # of PNG
    if shape is None and image.info.get("jfif_unit") == 0:
        shape = image.info.get("jfif_density")
    if not isinstance(shape, tuple) or len(shape) != 2 or min(shape) <= 0 or shape[0] == shape[1]:
        return ""
    return f"pixel aspect ratio {shape[0]}:{shape[1]} left out: pixels are shown square"


def _has_iptc(image: Image.Image) -> bool:
    photoshop = image.info.get("photoshop")
    return (isinstance(photoshop, dict) and IPTC in photoshop) or any(tag in _tags(image) for tag in IPTC_TAGS)


def _has_credentials(image: Image.Image) -> bool:
    """True for a signed manifest of origin: in segments APP11 of a JPEG, in chunk caBX of a PNG."""
    segments = getattr(image, "applist", None) or ()
    chunks = getattr(image, "private_chunks", None) or ()
    return any(kind == "APP11" and b"c2pa" in data for kind, data in segments) or any(c[0] == b"caBX" for c in chunks)


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _pictures_of_mpf(image: Image.Image) -> int:
    """Number of pictures in the multi-picture index of a JPEG that Pillow opens as a single picture."""
    try:
        return int(image._getmp()[45057])  # type: ignore[attr-defined]  # noqa: SLF001 (Pillow has no public call)
    except Exception:  # no index, or a damaged one
        return 0
