"""Files of other formats by their first bytes, for messages about files that are not .vqc files."""

from __future__ import annotations

PICTURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"qoif": "QOI",
    b"P5": "PPM",
    b"P6": "PPM",
}
"""First bytes -> name of the format of a picture."""
BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}
"""Brand of an ISO media file -> name of the format of a picture."""


def picture_format(head: bytes) -> str | None:
    """Name of the picture format of a file that begins with `head`, at least 12 bytes; None for other files."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12])
    return next((name for magic, name in PICTURES.items() if head.startswith(magic)), None)


def foreign(head: bytes) -> str:
    """Message for a file that begins with `head` and is not a .vqc file: its format, and what to do."""
    if (picture := picture_format(head)) is not None:
        article = "an" if picture[0] == "A" else "a"
        return f"is {article} {picture} picture, not a .vqc file; `vqcodec encode` makes a .vqc file of it"
    if head.startswith(b"PK\x03\x04"):
        return "is a zip archive, not a .vqc file; `vqcodec tokens` makes a .vqc file of a .npz archive"
    return f"not a .vqc file: it begins with {head[:4].hex(' ') or 'nothing'}"
